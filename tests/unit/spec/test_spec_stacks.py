"""Stacks of the shapes that people run: each loads, says what it lacks, and comes out whole."""

from __future__ import annotations

from typing import Any

import pytest

from stackctl.spec.shown import Wish, described

BLOG = """\
version: "3.8"
services:
  db:
    image: mysql:8
    command: --default-authentication-plugin=mysql_native_password
    restart: always
    environment: {MYSQL_ROOT_PASSWORD_FILE: /run/secrets/root, MYSQL_DATABASE: blog}
    secrets: [root]
    volumes: ["db_data:/var/lib/mysql"]
    healthcheck:
      test: ["CMD", "mysqladmin", "ping", "-h", "localhost"]
      timeout: 20s
      retries: 10
  blog:
    depends_on: {db: {condition: service_healthy}}
    image: wordpress:${WP_TAG:-latest}
    ports: ["${PORT:-8000}:80"]
    restart: unless-stopped
    environment: ["WORDPRESS_DB_HOST=db:3306", WORDPRESS_DEBUG]
    volumes: ["./themes:/var/www/html/wp-content/themes:ro", "html:/var/www/html"]
secrets: {root: {file: ./root.txt}}
volumes: {db_data: {}, html: }
"""

COMMON = """\
x-logging: &logging
  driver: json-file
  options: {max-size: "10m", max-file: 3}
x-app: &app
  image: ${APP_IMAGE:-example/app}:${APP_VERSION:?say which version}
  environment: &env
    EXECUTOR: Celery
    KEY: ''
    CHECK: ${CHECK:-true}
    EXTRA: ${EXTRA-}
  volumes:
    - ${DIR:-.}/dags:/opt/dags
    - type: tmpfs
      target: /scratch
      tmpfs: {size: 100m, mode: 01777}
  user: "${APP_UID:-50000}:0"
  logging: *logging
  depends_on: &needs
    redis: {condition: service_healthy}
services:
  redis:
    image: redis:7-bookworm
    expose: [6379]
    healthcheck: {test: ["CMD", "redis-cli", "ping"], interval: 10s, retries: 50, start_period: 30s}
  init:
    <<: *app
    entrypoint: /bin/bash
    user: "0:0"
    command:
      - -c
      - |
        echo "$$HOME"
        (( $$(id -u) == 0 )) && mkdir -p /sources
    environment: {<<: *env, CREATE: 'yes'}
  web:
    <<: *app
    command: webserver
    ports: [8080:8080]
    depends_on: {<<: *needs, init: {condition: service_completed_successfully}}
  worker:
    <<: *app
    command: celery worker
    init: true
    stop_grace_period: 1m
    deploy: {replicas: 2, resources: {limits: {cpus: '0.5', memory: 512M}}}
  flower: {<<: *app, profiles: [flower], ports: ['5555:5555']}
"""

PROXY = """\
name: edge
services:
  traefik:
    image: "traefik:v3"
    command: ["--providers.docker=true", "--entrypoints.web.address=:80"]
    security_opt: ["no-new-privileges:true"]
    ports:
      - {target: 80, published: 80, protocol: tcp, mode: host}
      - "127.0.0.1:8080:8080"
      - "443:443/udp"
    volumes: ["/var/run/docker.sock:/var/run/docker.sock:ro", "/etc/localtime:/etc/localtime:ro"]
    networks: [front]
  whoami:
    image: traefik/whoami
    labels:
      - "traefik.enable=true"
      - "traefik.http.routers.who.rule=Host(`who.example`) && PathPrefix(`/a`)"
      - "traefik.http.middlewares.auth.basicauth.users=u:$$apr1$$x$$y"
    networks: {front: {aliases: [who]}, back: {ipv4_address: 172.30.0.10}}
  vpn:
    image: example/vpn
    cap_add: [NET_ADMIN, SYS_MODULE]
    devices: [/dev/net/tun]
    sysctls: [net.ipv4.conf.all.src_valid_mark=1]
  torrent: {image: example/torrent, network_mode: "service:vpn", environment: [PUID=1000]}
  home: {image: example/home, network_mode: bridge, privileged: yes, tmpfs: ["/run:exec,uid=1000"]}
networks:
  front: {name: front, attachable: true}
  back:
    internal: true
    ipam: {driver: default, config: [{subnet: 172.30.0.0/24, gateway: 172.30.0.1}]}
"""

SEARCH = """\
services:
  es:
    image: elastic:${STACK_VERSION:-8.1.0}
    environment:
      discovery.type: single-node
      ES_JAVA_OPTS: -Xms512m -Xmx512m
      xpack.security.enabled: "false"
      bootstrap.memory_lock: true
    ulimits: {memlock: {soft: -1, hard: -1}, nofile: 65536}
    volumes: [es:/usr/share/elasticsearch/data]
    healthcheck:
      test: curl -s http://localhost:9200 >/dev/null || exit 1
      start_interval: 500ms
      start_period: 1m30s
    mem_limit: 1g
  kafka:
    image: example/kafka
    hostname: kafka
    container_name: kafka
    environment:
      KAFKA_ADVERTISED_LISTENERS: PLAINTEXT://kafka:29092,HOST://localhost:9092
      KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR: 1
      RATIO: 0.5
    links: ["es:search"]
  app:
    build: {context: ., target: dev, args: {NODE_ENV: development}}
    env_file: [app.env, {path: local.env, required: false}]
    develop: {watch: [{path: src, action: sync, target: /app/src, ignore: [node_modules/]}]}
    volumes: [.:/app, /app/node_modules]
    stdin_open: true
    tty: true
volumes: {es: {driver: local}}
"""


@pytest.mark.parametrize(
    ("text", "environment", "services", "warnings"),
    [
        (BLOG, {}, ["blog", "db"], ['"version" has no meaning']),
        (COMMON, {"APP_VERSION": "1"}, ["init", "redis", "web", "worker"], []),
        (PROXY, {}, ["home", "torrent", "traefik", "vpn", "whoami"], []),
        (SEARCH, {}, ["app", "es", "kafka"], []),
    ],
    ids=["blog", "common", "proxy", "search"],
)
@pytest.mark.parametrize("format", ["yaml", "json"])
def test_a_stack_loads_and_its_config_loads_to_the_same(
    project: Any,
    text: str,
    environment: dict[str, str],
    services: list[str],
    warnings: list[str],
    format: str,
) -> None:
    project.write("app.env", "export A='1'\nB: two # words\n")
    project.write("compose.yaml", text)
    request = project.request(environment=environment)
    first, told = described(request, Wish(format=format, hashes=True))
    assert sorted(first["services"]) == services
    # Whether there is a Docker depends on the machine.
    texts = [notice.text for notice in told if "no Docker is at" not in notice.text]
    for text_of_one, expected in zip(texts, warnings, strict=True):
        assert expected in text_of_one
    project.write("compose.yaml", first["text"])
    again, _ = described(project.request(), Wish(format=format, hashes=True))
    assert again["text"] == first["text"]
    assert again["hashes"] == first["hashes"]


def test_what_the_stacks_come_to(project: Any) -> None:
    web = project.load(COMMON, environment={"APP_VERSION": "1"}).stack.services["web"]
    assert web.image == "example/app:1"
    assert list(web.depends_on) == ["redis", "init"]
    assert [mount.target for mount in web.volumes] == ["/opt/dags", "/scratch"]
    init = project.load(COMMON, environment={"APP_VERSION": "1"}).stack.services["init"]
    assert init.command[1].startswith('echo "$HOME"\n(( $(id -u) == 0 ))')
    assert init.environment == {
        "EXECUTOR": "Celery",
        "KEY": "",
        "CHECK": "true",
        "EXTRA": "",
        "CREATE": "yes",
    }
    edge = project.load(PROXY, name=None).stack
    assert edge.services["torrent"].depends_on["vpn"].restart is True
    assert edge.services["whoami"].labels["traefik.http.middlewares.auth.basicauth.users"] == (
        "u:$apr1$x$y"
    )
    project.write("app.env", "A=1\n")
    search = project.load(SEARCH).stack.services
    assert search["es"].environment["bootstrap.memory_lock"] == "true"
    assert search["kafka"].environment["RATIO"] == "0.5"
    assert search["app"].environment == {"A": "1"}
    (mistake,) = project.mistakes(COMMON)[:1]
    assert 'required variable "APP_VERSION" is missing a value: say which version' in mistake
