# Sends the periodic tasks. There is one at most.
{ image, tools }:
image {
  role = "scheduler";
  title = "Ibutsu scheduler";
  command = [
    "celery"
    "--app"
    "ibutsu_server:scheduler_app"
    "beat"
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
