# The images at work in a virtual machine, with podman, PostgreSQL and Redis: tests/images in full.
{
  pkgs,
  servers,
  environment,
  root,
  packages,
}:
pkgs.testers.runNixOSTest {
  name = "ibutsu-images";
  nodes.machine = {
    virtualisation = {
      podman.enable = true;
      cores = 2;
      memorySize = 4096;
      diskSize = 8192;
    };
    # PostgreSQL does not run as root, and the tests start it.
    users.groups.ibutsu-postgres = { };
    users.users.ibutsu-postgres = {
      isSystemUser = true;
      group = "ibutsu-postgres";
    };
    environment = {
      systemPackages = [
        environment
        pkgs.distribution
        pkgs.skopeo
      ];
      variables = servers.variables // {
        IBUTSU_IMAGES = packages.images;
        IBUTSU_BILLS = packages.sboms;
      };
    };
  };
  testScript = ''
    machine.wait_for_unit("multi-user.target")
    machine.succeed("cp -r ${root} /root/source && chmod -R u+w /root/source")
    # nixpkgs' PostgreSQL looks for its files beside the link that it is called by: in /run/current-system it finds none.
    path = "export PATH=${pkgs.lib.makeBinPath servers.packages}:$PATH"
    print(machine.succeed(f"{path} && cd /root/source && pytest -q -p no:cacheprovider --timeout=1200 tests/images 2>&1"))
  '';
}
