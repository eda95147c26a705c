# Executes tasks. It scales out.
{ image, tools }:
image {
  role = "worker";
  title = "Ibutsu worker";
  command = [
    "celery"
    "--app"
    "ibutsu_server:worker_app"
    "worker"
  ];
  tools = [
    tools.env
    tools.psql
  ];
  variables = {
    IBUTSU_HEALTH_ADDRESS = ":8081";
    PSQL_PAGER = ""; # There is none.
  };
  ports = [ 8081 ];
}
