# nixpkgs' Python without what a server never loads (tests, IDLE, Tk, pip's wheel, headers), and with compiled modules.
#
# It is a copy, so that nothing is built from source: the copy's store path is as long as the original's and takes its
# place in every file.
{
  lib,
  stdenv,
  python313,
}:
let
  original = python313;
  home = "lib/python${original.pythonVersion}";
  copy = stdenv.mkDerivation {
    inherit (original) pname version;
    dontUnpack = true;
    dontStrip = true;
    dontPatchELF = true;
    installPhase = ''
      runHook preInstall
      cp -r --no-preserve=ownership ${original} $out
      chmod -R u+w $out
      cd $out
      rm -rf include share lib/pkgconfig bin/{2to3,idle,pydoc}* bin/*-config* nix-support/propagated*
      cd ${home}
      rm -rf config-* ensurepip idlelib lib2to3 pydoc_data test tkinter turtle.py turtledemo
      rm -rf lib-dynload/{_test*,_ctypes_test*,_tkinter*,xxlimited*,xxsubtype*} site-packages/README.txt
      find $out -name __pycache__ -prune -exec rm -rf {} +
      find $out -name '*.a' -delete
      find $out -type f -exec sed -i "s|${original}|$out|g" {} +
      # -B, or the compiler's own modules would be compiled as it loads them, with the time in them.
      $out/bin/python3 -B -m compileall -q -f -j 1 --invalidation-mode unchecked-hash $out/${home}
      runHook postInstall
    '';
    disallowedReferences = [ original ];
    passthru = original.passthru // {
      interpreter = "${copy}/bin/${original.executable}";
      pythonOnBuildForHost = copy;
    };
    inherit (original) meta;
  };
in
# macOS runs no program that was changed after it was signed, and has no images.
if stdenv.hostPlatform.isLinux then copy else original
