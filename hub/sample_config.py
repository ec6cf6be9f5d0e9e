"""The configuration that a new hub begins with."""

from __future__ import annotations


def sample_config(hub_id: str, port: int) -> str:
    """Return the text of a new `hub.yaml` with its comments."""
    return f"""\
# digua hub 枢纽配置. Paths are relative to this file. 路径相对于本文件。
hub_id: {hub_id}
listen:
  host: 127.0.0.1
  port: {port}
public_url: http://127.0.0.1:{port}
# Pages for people, as they type it; passkeys need a name. 页面地址；通行密钥要求使用域名。
pages: {{origin: http://localhost:{port}}}
# SQLite file, or postgresql+psycopg://user:password@host/name
database: sqlite:///hub.sqlite
# Secret files, mode 0600. 密钥文件，权限 0600。
keys_dir: keys
admin_token_file: admin.token
# Beyond loopback TLS is required. 非本机访问必须启用 TLS。
# tls: {{certificate: tls/hub.pem, key: tls/hub.key}}
# Identifiers a party may have pseudonymised in all. 各方假名化总配额。
voprf_quota:
  default: 100000
# Checkpoints of the audit log. 审计日志检查点。
log:
  interval_s: 1.0
  max_entries: 1000
# Logs, on standard error, without anybody's data: json or console. 日志，不含个人信息。
# logs: {{format: json, level: info, requests: false}}
# Traces of requests for a collector of your own; they need digua[otel]. 链路追踪。
# tracing: {{endpoint: "http://127.0.0.1:4318/v1/traces", share: 0.01}}
# A model is released only with an impact assessment (PIPL 55): required, or optional. 模型发布须有影响评估。
# models: {{assessment: required}}
# Campaigns: on the agents' own connections, and on Flower's SuperLink where it is named below.
# 训练任务：经节点自有连接；如在下方配置，也可经 Flower SuperLink。
# campaigns: {{engines: [agent, superlink]}}
# A SuperLink that `digua-hub serve` starts and watches: nodes reach `listen` with TLS and their training keys.
# 由枢纽启动并看护的 SuperLink：节点凭训练密钥经 TLS 连接 listen。
# superlink:
#   managed: true
#   listen: {{host: 0.0.0.0, port: 9092}}
#   tls: {{certificate: tls/superlink.pem, key: tls/superlink.key}}
#   directory: superlink
# Or one that runs elsewhere. 或使用已有的 SuperLink。
# superlink:
#   address: superlink.example.org:9093
#   root_certificates: tls/ca.pem
#   token_file: superlink.token
"""
