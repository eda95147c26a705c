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
  overlay =
    platform:
    builtins.toJSON {
      apiVersion = "kustomize.config.k8s.io/v1beta1";
      kind = "Kustomization";
      resources = [ "../manifests/overlays/${platform}" ];
      images = map (image: {
        inherit (image) name;
        newTag = image.tag;
      }) (lib.attrValues images);
    };
in
runCommand "ibutsu-manifests" { nativeBuildInputs = [ kustomize ]; } (
  ''
    cp -r --no-preserve=mode ${root + "/manifests"} manifests
    mkdir $out tagged
  ''
  +
    lib.concatMapStrings
      (platform: ''
            substituteInPlace manifests/overlays/${platform}/kustomization.yaml \
          --replace-fail "  - ../../components/secrets" ""
        echo ${lib.escapeShellArg (overlay platform)} > tagged/kustomization.yaml
            kustomize build tagged > $out/${platform}.yaml
      '')
      [
        "kubernetes"
        "openshift"
      ]
)
