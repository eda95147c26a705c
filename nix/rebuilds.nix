# That a second build makes the same bits, and that a change of our code moves one layer.
{
  lib,
  pkgs,
  python,
  images,
  packages,
}:
let
  again = package: package.overrideAttrs { IBUTSU_BUILD = "second"; };
  changed = package: package.overrideAttrs { postPatch = "echo '# Changed.' >> src/*/__init__.py"; };

  wheels = lib.unique (
    lib.concatMap (role: lib.attrVals (python.names role) python.packages) (lib.attrNames images)
  );
  built = [
    python.python
  ]
  ++ python.ours
  ++ wheels
  ++ map (image: image.environment) (lib.attrValues images);
in
{
  # The second build has another store path; where that stands aside, all is equal.
  reproducible = pkgs.runCommand "ibutsu-reproducible" { } ''
    listing() (
      hash=$(basename "$1" | cut -d - -f 1)
      cd "$1"
      find . -printf '%M %p %l\n' | sed "s/$hash//g" | sort
      find . -type f | sort | while IFS= read -r file; do
        sum=$(sed "s/$hash//g" "$file" | sha256sum)
        echo "$sum $file"
      done
    )
    # What fails in <(…) goes unnoticed, and two empty listings are equal.
    same() {
      listing "$1" > first
      listing "$2" > second
      grep -q ^- first || { echo "There is no file in $1." && exit 1; }
      diff first second || { echo "$1 and $2 differ." && exit 1; }
    }
    ${lib.concatMapStrings (package: "same ${package} ${again package}\n") built}
    ${lib.concatMapStrings (image: "diff ${image.bill} ${again image.bill}\n") (lib.attrValues images)}
    diff -r ${packages.images} ${again packages.images}
    touch $out
  '';

  layers = pkgs.runCommand "ibutsu-layers" { nativeBuildInputs = [ pkgs.jq ]; } ''
    layers() {
      $1 2> /dev/null | tar -xO manifest.json | jq -r '.[].Layers[]' | sort
    }
    ${lib.concatMapStrings (
      image:
      let
        other = image.override { application.ours = map changed image.ours; };
      in
      ''
        layers ${image.tarball.stream} > before
        layers ${other.tarball.stream} > after
        moved=$(comm -13 before after | wc -l)
        echo "${image.name}: $moved of $(wc -l < after) layers moved"
        [ "$moved" = 1 ]
      ''
    ) (lib.attrValues images)}
    touch $out
  '';
}
