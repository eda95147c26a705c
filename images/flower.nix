# Shows the queue. It talks to Redis only, and holds no task and nothing of the database.
{
  image,
  tools,
  python,
}:
image {
  role = "flower";
  title = "Ibutsu Flower";
  command = [
    "celery"
    "--app"
    "ibutsu_server:flower_app"
    "flower"
  ];
  tools = [ tools.redis-cli ];
  ports = [ 5555 ];
  application = {
    skip = [ "bin/ibutsu" ];
    ours = [
      python.packages.ibutsu-core
      # What `flower_app` loads of our server; tests/images/test_image_files.py holds that it is this.
      (python.fromSource "ibutsu_server" [
        "pyproject.toml"
        "src/ibutsu_server/__init__.py"
        "src/ibutsu_server/applications.py"
        "src/ibutsu_server/py.typed"
      ] python.packages)
    ];
  };
}
