# The Python environments: the wheels of the hash-locked sets in requirements/, and our two packages.
#
# The sets are those that pip reads. requirements/wheels.json says where each wheel lies; nothing is resolved here.
{
  lib,
  pkgs,
  pyproject-nix,
  root,
}:
let
  inherit (pyproject-nix.lib) pep508 pip pypa;

  # requirements/wheels chooses its wheels.
  python = pkgs.callPackage ./interpreter.nix { };

  paths = lib.importJSON (root + "/requirements/wheels.json");
  environ = pep508.mkEnviron python;

  # The requirements of a locked set that this Python has on this system.
  locked =
    name:
    lib.filter (
      { requirement, ... }:
      requirement.markers == null || pep508.evalMarkers environ requirement.markers
    ) (pip.parseRequirementsTxt (root + "/requirements/${name}.txt"));

  # The file of the set's hashes that suits best.
  source =
    { requirement, flags }:
    let
      hashes = map (lib.removePrefix "--hash=sha256:") flags;
      files = map (hash: {
        inherit hash;
        path = paths.${hash};
        name = baseNameOf paths.${hash};
      }) (lib.filter (hash: paths ? ${hash}) hashes);
      suitable = pypa.selectWheels pkgs.stdenv.hostPlatform python (
        map (file: pypa.parseWheelFileName file.name) files
      );
      wheel =
        if suitable == [ ] then
          throw "No locked wheel of ${requirement.name} suits ${pkgs.stdenv.hostPlatform.system}; run `make lock`."
        else
          lib.head suitable;
      file = lib.findFirst (file: file.name == wheel.filename) null files;
    in
    {
      inherit (wheel) version platformTags;
      # The mirrors' path ends in packages/source, for other files than ours.
      url = "mirror://pypi/../${file.path}";
      sha256 = file.hash;
    };

  # All modules are compiled once, one after the other, so that every machine makes the same bits.
  compile = directory: ''
    ${python.interpreter} -m compileall -q -j 1 --invalidation-mode unchecked-hash ${directory}
  '';

  fromWheel =
    entry: final:
    let
      wheel = source entry;
      native = pkgs.stdenv.hostPlatform.isLinux && wheel.platformTags != [ "any" ];
    in
    final.stdenv.mkDerivation {
      pname = entry.requirement.name;
      inherit (wheel) version;
      src = pkgs.fetchurl { inherit (wheel) url sha256; };
      nativeBuildInputs = [ final.pyprojectWheelHook ] ++ lib.optional native pkgs.autoPatchelfHook;
      buildInputs = lib.optionals native [
        pkgs.stdenv.cc.cc.lib
        pkgs.zlib
      ];
      dontStrip = true;
      env.UV_COMPILE_BYTECODE = "0";
      postInstall = compile "$out/${python.sitePackages}";
      passthru = { inherit (wheel) sha256; };
    };

  # One of our packages, from those of its files that `files` names.
  fromSource =
    name: files: final:
    let
      inherit ((lib.importTOML (root + "/python/${name}/pyproject.toml")).project) version;
    in
    final.stdenv.mkDerivation {
      pname = lib.replaceString "_" "-" name;
      inherit version;
      src = lib.fileset.toSource {
        root = root + "/python/${name}";
        fileset = lib.fileset.unions (map (file: root + "/python/${name}/${file}") files);
      };
      nativeBuildInputs = [
        final.pyprojectHook
      ]
      ++ final.resolveBuildSystem { flit-core = [ ]; };
      env.UV_COMPILE_BYTECODE = "0";
      postInstall = compile "$out/${python.sitePackages}";
    };
in
rec {
  inherit python fromSource;

  packages = (pkgs.callPackage pyproject-nix.build.packages { inherit python; }).overrideScope (
    final: _:
    lib.listToAttrs (
      map (entry: lib.nameValuePair entry.requirement.name (fromWheel entry final)) (locked "dev")
    )
    // {
      ibutsu-core = fromSource "ibutsu_core" [ "pyproject.toml" "src" ] final;
      ibutsu-server = fromSource "ibutsu_server" [ "pyproject.toml" "src" ] final;
    }
  );

  # The packages of a locked set, by name.
  names = set: map ({ requirement, ... }: requirement.name) (locked set);

  # The SHA-256 of each one's wheel, by name.
  hashes = set: lib.genAttrs (names set) (name: packages.${name}.sha256);

  ours = [
    packages.ibutsu-core
    packages.ibutsu-server
  ];

  # The environment of a locked set, and our packages in it.
  environment =
    {
      name,
      set ? name,
      without ? [ ], # packages of the set
      skip ? [ ], # paths in the environment
      ours ? [ ],
    }:
    (packages.mkVirtualEnv "ibutsu-${name}" (
      lib.genAttrs (lib.subtractLists without (names set)) (_: [ ])
    )).overrideAttrs
      (old: {
        venvSkip = skip;
        NIX_PYPROJECT_DEPS = lib.concatStringsSep ":" ([ old.NIX_PYPROJECT_DEPS ] ++ ours);
      });

  # An environment that holds our packages itself, so that a change of them changes one store path: this.
  application =
    arguments@{ ours, ... }:
    (environment arguments).overrideAttrs {
      postInstall = ''
        for package in ${toString ours}; do
          find $out -type l -lname "$package/*" -print0 | while IFS= read -rd "" link; do
            target=$(readlink "$link")
            rm "$link"
            cp -r --no-preserve=mode "$target" "$link"
          done
        done
        chmod +x $out/bin/*
        rm -r $out/bin/[Aa]ctivate* $out/include # For shells and compilers.
        find -L $out/${python.sitePackages}/ibutsu_* -name __pycache__ -prune -exec rm -r {} +
        $out/bin/python -m compileall -q -j 1 --invalidation-mode unchecked-hash $out/${python.sitePackages}/ibutsu_*
      '';
      disallowedReferences = ours;
    };
}
