# A CycloneDX bill of materials, made of what is in an image: its store paths and its wheels' metadata.
{
  runCommand,
  closureInfo,
  python,
}:
let
  environment = python.environment { name = "sbom"; };
in
{
  name,
  title,
  version,
  closure,
}:
runCommand "${name}.cdx.json" { } ''
  ${environment}/bin/python ${./sbom.py} --name ${name} --version ${version} --title "${title}" \
    ${closureInfo { rootPaths = closure; }}/store-paths > $out
''
