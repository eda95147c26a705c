# All images as a registry has them: one OCI layout, and a table of each one's name, content tag, version and digest.
#
# The layers are compressed here, once, so that a digest is the build's, whoever pushes the image.
{
  lib,
  runCommand,
  jq,
  skopeo,
  images,
}:
runCommand "ibutsu-images"
  {
    nativeBuildInputs = [
      jq
      skopeo
    ];
  }
  (
    ''
      mkdir $out
      export HOME=$PWD
    ''
    + lib.concatMapStrings (image: ''
      ${image.tarball.stream} > image.tar
      skopeo --insecure-policy --tmpdir . copy --quiet docker-archive:image.tar oci:$out/layout:${image.name}
      digest=$(jq -r '.manifests[-1].digest' $out/layout/index.json)
      echo "${image.name} ${image.tag} ${image.version} $digest" >> $out/images
    '') (lib.attrValues images)
  )
