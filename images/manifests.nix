# The manifests, rendered for each platform with the content tags of the images that the same commit makes, and without
# the Secrets: everybody may read the store.
{
  lib,
  runCommand,
  kustomize,
  root,
  images,
}:
let
  # The asterisk keeps the registry that the component names.
  tagged = map (image: "${image.name}=*:${image.tag}") (lib.attrValues images);
in
runCommand "ibutsu-manifests" { nativeBuildInputs = [ kustomize ]; } ''
  cp -r --no-preserve=mode ${root + "/manifests"} manifests
  (cd manifests/components/images && kustomize edit set image ${lib.escapeShellArgs tagged})
  mkdir $out
  for overlay in manifests/overlays/*; do
    substituteInPlace $overlay/kustomization.yaml --replace-fail "  - ../../components/secrets" ""
    kustomize build $overlay > $out/''${overlay##*/}.yaml
  done
''
