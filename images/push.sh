# Copies the images to a registry, each by its content tag and by the version. What is there already stays.
#
# The build calls it with IMAGES set: a directory with an OCI layout and the table `images`.
usage="usage: push [--dry-run] [--plain-http] [--move-version] REGISTRY/NAMESPACE
  --dry-run        say what would be pushed, and push nothing
  --plain-http     the registry has no TLS, or a certificate that nobody signed
  --move-version   let the version name these images where it names others"

dry_run='' move_version='' destination=''
tls=true
for argument; do
  case $argument in
    --dry-run) dry_run=1 ;;
    --plain-http) tls=false ;;
    --move-version) move_version=1 ;;
    -*) echo "$usage" >&2 && exit 2 ;;
    *) destination=$argument ;;
  esac
done
[[ $destination == ?*/?* ]] || { echo "$usage" >&2 && exit 2; }

pushed=0 present=0 refused=0
while read -r name tag version digest; do
  for label in "$tag" "$version"; do
    image=$destination/$name:$label
    there=''
    if answer=$(skopeo inspect --no-tags --tls-verify=$tls --format '{{.Digest}}' "docker://$image" 2>&1); then
      there=${answer##*$'\n'}
    elif [[ ! ${answer,,} =~ unknown|not\ known|not\ found|unauthorized|denied|forbidden ]]; then
      # Some registries say no better of what is not there yet. After any other failure a tag could be moved unseen.
      echo "What $image names cannot be told, and nothing more is pushed: $answer" >&2
      exit 1
    fi
    if [[ $there == "$digest" ]]; then
      echo "is there    $image  $digest"
      present=$((present + 1))
    elif [[ -n $there && -z $move_version ]]; then
      echo "REFUSED     $image is $there, not $digest. Raise the version, or push with --move-version." >&2
      refused=$((refused + 1))
    else
      if [[ -n $dry_run ]]; then
        echo "would push  $image  $digest"
      else
        skopeo --insecure-policy copy --quiet --preserve-digests --dest-tls-verify=$tls \
          "oci:$IMAGES/layout:$name" "docker://$image"
        echo "pushed      $image  $digest"
      fi
      pushed=$((pushed + 1))
    fi
  done
done < "$IMAGES/images"
echo "$pushed ${dry_run:+would be }pushed, $present there already, $refused refused."
[[ $refused == 0 ]]
