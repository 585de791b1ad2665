"""OpenStack Swift with its S3 API in one process: an S3 server that checks signatures, digests and dates.

    swift_server.py FOLDER PORT     0: a free one; prints "ready PORT"

Access keys: test:tester with the secret testing, and other:tester with the secret testing (another account).
"""

import pathlib
import socket
import sys

import eventlet

eventlet.monkey_patch()
from eventlet import wsgi  # noqa: E402
from swift.common import utils  # noqa: E402

FOLDER = pathlib.Path(sys.argv[1]).resolve()
sys.path.insert(0, str(pathlib.Path(__file__).parent))

PIPELINE = "catch_errors gatekeeper tokens listing_formats bulk s3api tempauth slo dlo symlink versioned_writes proxy-server"
PROXY = f"""
[DEFAULT]
swift_dir = {FOLDER}
log_level = ERROR
[pipeline:main]
pipeline = {PIPELINE}
[app:proxy-server]
use = egg:swift#proxy
allow_account_management = true
account_autocreate = true
[filter:tokens]
paste.filter_factory = swift_server:tokens
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
user_other_tester = testing .admin
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
check_bucket_owner = false
max_bucket_listing = 20
"""
HASHES = """
[swift-hash]
swift_hash_path_suffix = x
swift_hash_path_prefix = y
[storage-policy:0]
name = one
default = yes
"""
BACKEND = """
[DEFAULT]
swift_dir = {folder}
devices = {folder}/devices
mount_check = false
disable_fallocate = true
fallocate_reserve = 0
log_level = ERROR
[pipeline:main]
pipeline = app
[app:app]
use = egg:swift#{kind}
recon_cache_path = {folder}
"""


def tokens(conf, **more):
    """Keeps tempauth's tokens, as memcached would. Nothing else is cached, so that every look is a fresh one."""

    class Cache:
        kept = {}

        def get(self, key, **_):
            return self.kept.get(key)

        def set(self, key, value, **_):
            if key.startswith("AUTH_/"):
                self.kept[key] = value

        def delete(self, key, **_):
            self.kept.pop(key, None)

    cache = Cache()

    def filter_(app):
        def call(env, start_response):
            env["swift.cache"] = cache
            return app(env, start_response)

        return call

    return filter_


def listen(port):
    listening = eventlet.listen(("127.0.0.1", port), reuse_addr=True)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def write_config(ports):
    from swift.common.ring.builder import RingBuilder  # reads swift.conf

    (FOLDER / "devices" / "d1").mkdir(parents=True)
    (FOLDER / "proxy.conf").write_text(
        PROXY + "".join(f"[filter:{name}]\nuse = egg:swift#{name}\n" for name in PIPELINE.split()
                        if f":{name}]" not in PROXY))  # fmt: skip
    for kind, port in ports.items():
        (FOLDER / f"{kind}.conf").write_text(BACKEND.format(folder=FOLDER, kind=kind))
        builder = RingBuilder(4, 1, 1)
        builder.add_dev({"id": 0, "region": 1, "zone": 1, "ip": "127.0.0.1", "port": port, "device": "d1", "weight": 1,
                         "replication_ip": "127.0.0.1", "replication_port": port})  # fmt: skip
        builder.rebalance()
        builder.get_ring().save(str(FOLDER / f"{kind}.ring.gz"))
    (FOLDER / "ports").write_text(" ".join(map(str, ports.values())))


def main():
    FOLDER.joinpath("swift.conf").write_text(HASHES)
    utils.set_swift_dir(str(FOLDER))
    kinds = ["account", "container", "object"]
    known = (FOLDER / "ports").read_text().split() if (FOLDER / "ports").exists() else [0, 0, 0]
    sockets = {kind: listen(int(port)) for kind, port in zip(kinds, known)}
    if known == [0, 0, 0]:
        write_config({kind: one.getsockname()[1] for kind, one in sockets.items()})
    sockets["proxy"] = listen(int(sys.argv[2]))
    from swift.common.http_protocol import SwiftHttpProtocol  # these too
    from swift.common.wsgi import loadapp

    servers = []
    for kind, one in sockets.items():
        app = loadapp(str(FOLDER / f"{kind}.conf"), global_conf={"log_name": kind})
        servers.append(eventlet.spawn(wsgi.server, one, app, utils.NullLogger(), protocol=SwiftHttpProtocol,
                                      capitalize_response_headers=False, keepalive=True))  # fmt: skip
    print("ready", sockets["proxy"].getsockname()[1], flush=True)
    for server in servers:
        server.wait()


if __name__ == "__main__":
    main()
