# Where the project is developed: Python with our packages from the work tree, the servers, and the tools.
{
  lib,
  pkgs,
  python,
  servers,
}:
let
  # A package's metadata and commands, without its modules: those come from the work tree.
  editable =
    package:
    package.overrideAttrs (old: {
      postInstall = ''
        rm -r $out/${python.python.sitePackages}/${lib.replaceString "-" "_" old.pname}
      '';
    });
  environment = python.environment {
    name = "development";
    set = "dev";
    inherit (servers) without;
    ours = map editable python.ours;
  };
  shell =
    packages:
    pkgs.mkShell {
      packages = [
        environment
        (lib.getBin pkgs.openssl)
      ]
      ++ servers.packages
      ++ packages;
      env = servers.variables;
      shellHook = ''
        root=$(git rev-parse --show-toplevel 2> /dev/null || pwd)
        export PYTHONPATH=$root/python/ibutsu_core/src:$root/python/ibutsu_server/src
      '';
    };
in
{
  # What the tests need.
  tests = shell [ ];

  default = shell [
    pkgs.kubectl
    pkgs.kustomize
    pkgs.kubeconform
    pkgs.kube-linter
    pkgs.skopeo
    pkgs.nixfmt
  ];
}
