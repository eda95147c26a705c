# A CycloneDX bill of materials, made of what is in an image: its store paths, and its wheels' metadata and hashes.
{
  runCommand,
  writeText,
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
  set, # the locked one that its wheels are of
  closure,
}:
let
  hashes = writeText "${name}-hashes.json" (builtins.toJSON (python.hashes set));
in
runCommand "${name}.cdx.json" { } ''
  ${environment}/bin/python ${./sbom.py} --name ${name} --version ${version} --title "${title}" \
    ${closureInfo { rootPaths = closure; }}/store-paths ${hashes} > $out
''
