"""OpenStack Swift with its s3api in one process of its own: a real S3 server that checks signatures (version 4).

`python -m tests.swift_server FOLDER PORT ACCESS SECRET`: proxy, account, container and object servers as WSGI applications on
loopback, one device, one replica. The bucket `medhub` is made by the caller.
"""

import sys
from pathlib import Path

RINGS = ("account", "container", "object")


def configuration(folder: Path, ports: dict[str, int], access: str, secret: str) -> None:
    devices = folder / "devices"
    (devices / "d1").mkdir(parents=True, exist_ok=True)
    (folder / "swift.conf").write_text("[swift-hash]\nswift_hash_path_suffix = medhub\n[storage-policy:0]\nname = one\ndefault = yes\n")
    common = f"swift_dir = {folder}\ndevices = {devices}\nmount_check = false\nlog_level = ERROR\n"
    for name in RINGS:
        (folder / f"{name}.conf").write_text(
            f"[DEFAULT]\n{common}[pipeline:main]\npipeline = {name}-server\n[app:{name}-server]\nuse = egg:swift#{name}\n"
            "allow_versions = true\n"
        )
    (folder / "proxy.conf").write_text(
        f"[DEFAULT]\n{common}[pipeline:main]\n"
        "pipeline = catch_errors cache listing_formats s3api tempauth copy slo proxy-server\n"
        "[app:proxy-server]\nuse = egg:swift#proxy\naccount_autocreate = true\nnode_timeout = 30\n"
        f"[filter:tempauth]\nuse = egg:swift#tempauth\nuser_{access.replace(':', '_')} = {secret} .admin\n"
        "[filter:s3api]\nuse = egg:swift#s3api\nallow_multipart_uploads = true\nlocation = us-east-1\n"
        "[filter:catch_errors]\nuse = egg:swift#catch_errors\n[filter:cache]\nuse = egg:swift#memcache\nmemcache_servers = 127.0.0.1:9\n"
        "[filter:listing_formats]\nuse = egg:swift#listing_formats\n"
        "[filter:copy]\nuse = egg:swift#copy\n[filter:slo]\nuse = egg:swift#slo\n"
    )
    from swift.common.ring.builder import RingBuilder

    for name in RINGS:
        builder = RingBuilder(2, 1, 0)
        builder.add_dev({
            "id": 0, "region": 1, "zone": 1, "weight": 1, "ip": "127.0.0.1", "port": ports[name], "device": "d1", "meta": "",
            "replication_ip": "127.0.0.1", "replication_port": ports[name],
        })  # fmt: skip
        builder.rebalance()
        builder.get_ring().save(str(folder / f"{name}.ring.gz"))


def main(folder: Path, port: int, access: str, secret: str) -> None:
    import eventlet

    eventlet.monkey_patch(thread=True)
    from eventlet import listen, wsgi
    from swift.common import storage_policy, utils

    utils.SWIFT_CONF_FILE = str(folder / "swift.conf")
    sockets = {name: listen(("127.0.0.1", 0)) for name in RINGS}
    configuration(folder, {name: sock.getsockname()[1] for name, sock in sockets.items()}, access, secret)
    utils.validate_configuration()
    storage_policy.reload_storage_policies()
    from swift.common.http_protocol import SwiftHttpProtocol
    from swift.common.wsgi import loadapp

    utils.set_swift_dir(str(folder))
    options = {"protocol": SwiftHttpProtocol, "capitalize_response_headers": False, "log_output": False}
    for name, sock in sockets.items():
        app = loadapp(str(folder / f"{name}.conf"), global_conf={"log_name": name})
        eventlet.spawn(wsgi.server, sock, app, utils.NullLogger(), **options)
    proxy = loadapp(str(folder / "proxy.conf"), global_conf={"log_name": "proxy"})
    wsgi.server(listen(("127.0.0.1", port)), proxy, utils.NullLogger(), **options)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4])
