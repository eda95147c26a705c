# What all images share: their layers, the user, the environment, and what an operator expects in them.
{
  lib,
  dockerTools,
  cacert,
  tzdata,
  python,
  sbom,
  project, # [project] of our server's pyproject.toml
}:
{
  role,
  title,
  command,
  tools ? [ ], # programs for troubleshooting
  variables ? { },
  ports ? [ ],
  application ? {
    inherit (python) ours;
  },
}:
let
  name = "ibutsu-${role}";
  environment = python.application ({ name = role; } // application);
  contents = tools ++ [ dockerTools.caCertificates ];

  tarball = dockerTools.buildLayeredImage {
    inherit name contents;
    # Each store path has a layer of its own, so that images share what they have in common.
    maxLayers = 110;
    extraCommands = "mkdir -m 1777 tmp";
    config = {
      Entrypoint = command;
      # Any other user will do as well, as long as its group is 0.
      User = "10001:0";
      # Celery and gunicorn put it on the module path: nobody may write there.
      WorkingDir = "/";
      ExposedPorts = lib.genAttrs (map (port: "${toString port}/tcp") ports) (_: { });
      Env = lib.mapAttrsToList (name: value: "${name}=${value}") (
        {
          PATH = "${environment}/bin:/bin";
          HOME = "/tmp";
          LANG = "C.UTF-8";
          SSL_CERT_FILE = "/etc/ssl/certs/ca-bundle.crt";
          TZDIR = "${tzdata}/share/zoneinfo";
          PYTHONUNBUFFERED = "1";
          PYTHONDONTWRITEBYTECODE = "1";
        }
        // variables
      );
      Labels = lib.mapAttrs' (key: lib.nameValuePair "org.opencontainers.image.${key}") {
        inherit title;
        inherit (project) version;
        source = project.urls.Source;
        licenses = project.license;
      };
    };
  };
in
{
  inherit
    name
    environment
    tarball
    ;
  inherit (project) version;
  inherit (application) ours;
  tag = tarball.imageTag;
  bill = sbom {
    inherit name title;
    inherit (project) version;
    set = role;
    closure = [
      environment
      cacert
      tzdata
    ]
    ++ tools;
  };
}
