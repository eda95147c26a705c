# What `nix flake check` holds, each against the very packages that the images have.
{
  lib,
  pkgs,
  python,
  servers,
  root,
  images,
  packages,
}:
let
  environment = python.environment {
    name = "tests";
    set = "dev";
    inherit (servers) without;
    inherit (python) ours;
  };

  # A command that runs in a copy of the work tree, and must succeed.
  check =
    name: variables: inputs: command:
    pkgs.runCommand "ibutsu-${name}"
      (
        servers.variables
        // variables
        // {
          nativeBuildInputs = [ environment ] ++ inputs;
        }
      )
      ''
        cp -r --no-preserve=ownership ${root} source
        chmod -R u+w source
        cd source
        export HOME=$TMPDIR SSL_CERT_FILE=${pkgs.cacert}/etc/ssl/certs/ca-bundle.crt
        ${command}
        touch $out
      '';
  pytest =
    name: inputs: arguments:
    check name { } inputs "pytest -q -p no:cacheprovider ${arguments}";

  # Tests that start no server.
  units = [
    "tests/core"
    "tests/images"
    "tests/server/reports"
    "tests/test_architecture.py"
    "tests/test_docs.py"
  ];

  # The tests of the images' contents that `which` selects.
  contents =
    name: which:
    check name {
      IBUTSU_IMAGES = packages.images;
      IBUTSU_BILLS = packages.sboms;
    } [ ] "pytest -q -p no:cacheprovider tests/images/test_contents.py -k '${which}'";
in
{
  unit-tests = pytest "unit-tests" [ ] "-m 'not slow' ${toString units}";

  integration-tests = pytest "integration-tests" (servers.packages ++ [ (lib.getBin pkgs.openssl) ]) (
    "-m 'not slow' -n $NIX_BUILD_CORES --maxprocesses 8 tests --ignore=tests/manifests ${
      toString (map (path: "--ignore=${path}") units)
    }"
  );

  # Rendered, by the schemas of Kubernetes, and by our rules; and that the package is the same with the images' tags.
  manifests =
    check "manifests"
      {
        IBUTSU_IMAGES = packages.images;
        IBUTSU_MANIFESTS = packages.manifests;
      }
      (
        servers.packages
        ++ [
          pkgs.git
          pkgs.kustomize
        ]
      )
      ''
        patchShebangs manifests/deploy # The sandbox has no /usr/bin/env.
        pytest -q -p no:cacheprovider -m 'not slow' tests/manifests
      '';

  lint = check "lint" { } [ ] ''
    ruff check --no-cache .
    ruff format --no-cache --check .
    mypy --cache-dir=$TMPDIR/mypy
    mypy --cache-dir=$TMPDIR/mypy benchmarks
  '';

  nix-format = check "nix-format" { } [
    pkgs.nixfmt
  ] "nixfmt --check flake.nix images/*.nix nix/*.nix";

  environments = check "environments" { } [ ] (
    lib.concatMapStrings (image: ''
      pip --python ${image.environment}/bin/python check
    '') (lib.attrValues images)
  );

  image-sizes = contents "image-sizes" "budget";
}
// lib.mapAttrs' (
  role: _:
  lib.nameValuePair "${role}-image-contents" (
    contents "${role}-image-contents" "${role} and not budget"
  )
) images
// import ./rebuilds.nix {
  inherit
    lib
    pkgs
    python
    images
    packages
    ;
}
# A nixpkgs that was cut down to a few modules has no NixOS to test in.
// lib.optionalAttrs (lib.length (import (pkgs.path + "/nixos/modules/module-list.nix")) > 1000) {
  end-to-end = import ./end-to-end.nix {
    inherit
      pkgs
      servers
      environment
      root
      packages
      ;
  };
}
