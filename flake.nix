{
  description = "Ibutsu's task platform: its packages, its container images, and what checks them";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";
    pyproject-nix.url = "github:pyproject-nix/pyproject.nix";
    pyproject-nix.inputs.nixpkgs.follows = "nixpkgs";
  };

  outputs =
    { nixpkgs, pyproject-nix, ... }:
    let
      inherit (nixpkgs) lib;
      linux = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      # What each system has; lazy, so that only what is asked for is looked at.
      parts = lib.genAttrs (linux ++ [ "aarch64-darwin" ]) (
        system:
        import ./nix {
          inherit
            nixpkgs
            pyproject-nix
            system
            ;
        }
      );
      outputs = name: systems: lib.genAttrs systems (system: parts.${system}.${name});
    in
    {
      packages = outputs "packages" linux;
      apps = outputs "apps" linux;
      checks = outputs "checks" linux;
      devShells = outputs "devShells" (lib.attrNames parts);
      formatter = outputs "formatter" (lib.attrNames parts);
    };
}
