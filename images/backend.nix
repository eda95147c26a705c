# Serves the API, and brings the schema up to date (`ibutsu db upgrade`).
{ image }:
image {
  role = "backend";
  title = "Ibutsu backend";
  command = [
    "gunicorn"
    "--bind"
    "0.0.0.0:8080"
    "--threads"
    "8"
    "--no-control-socket"
    "--limit-request-line"
    "8190"
    "--config"
    "python:ibutsu_server.gunicorn_config"
    "ibutsu_server:backend_app"
  ];
  variables.IBUTSU_HEALTH_ADDRESS = ":8081";
  ports = [
    8080
    8081
  ];
}
