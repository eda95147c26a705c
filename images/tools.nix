# The programs that the specification's troubleshooting calls in containers, each without the rest of its package.
{
  lib,
  stdenv,
  patchelf,
  removeReferencesTo,
  postgresql,
  redis,
}:
let
  # A program, and those libraries of its own package that it loads.
  program =
    name: package:
    stdenv.mkDerivation {
      pname = name;
      inherit (package) version;
      dontUnpack = true;
      nativeBuildInputs = [
        patchelf
        removeReferencesTo
      ];
      installPhase = ''
        runHook preInstall
        install -D "$(realpath ${lib.getExe' package name})" $out/bin/${name}
        for library in $(patchelf --print-needed $out/bin/${name}); do
          if [ -e ${lib.getLib package}/lib/$library ]; then
            install -D ${lib.getLib package}/lib/$library $out/lib/$library
            patchelf --add-rpath $out/lib $out/bin/${name}
          fi
        done
        # redis-cli names it and uses nothing of it: all of systemd would follow.
        patchelf --remove-needed libsystemd.so.0 $out/bin/${name}
        find $out -type f -exec remove-references-to -t ${package} -t ${lib.getLib package} {} +
        runHook postInstall
      '';
      disallowedReferences = [
        package
        (lib.getLib package)
      ];
    };
in
{
  # nixpkgs' own is the whole of coreutils in one program, with the libraries of all.
  env = stdenv.mkDerivation {
    name = "ibutsu-env";
    dontUnpack = true;
    installPhase = ''
      runHook preInstall
      mkdir -p $out/bin
      $CC -O2 -Wall -Wextra -Werror -o $out/bin/env ${./env.c}
      runHook postInstall
    '';
  };
  psql = program "psql" postgresql;
  redis-cli = program "redis-cli" redis;
}
