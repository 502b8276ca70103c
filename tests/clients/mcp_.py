"""An MCP server over stdio, as a model's host would drive it: initialize, tools, resources, calls.

usage: mcp_.py postgres-mcp|server-postgres COMMAND [ARGUMENT...]
"""

import json
import os
import queue
import subprocess
import sys
import threading

from lib import steps
from lib.steps import URL, step

KIND, COMMAND = sys.argv[1], sys.argv[2:]


class Server:
    def __init__(self):
        self.process = subprocess.Popen(
            [*COMMAND, URL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sys.stderr, text=True, bufsize=1
        )
        self.number, self.answers = 0, queue.Queue()
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.process.stdout:
            self.answers.put(line)

    def send(self, message):
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")

    def ask(self, method, params=None):
        self.number += 1
        self.send({"id": self.number, "method": method, "params": params or {}})
        while True:
            answer = json.loads(self.answers.get(timeout=60))
            if answer.get("id") == self.number:
                return answer

    def call(self, tool, **arguments):
        """The text that the model gets, errors included."""
        answer = self.ask("tools/call", {"name": tool, "arguments": arguments})
        if "error" in answer:
            return {"error": answer["error"]["message"]}
        result = answer["result"]
        return {"failed": bool(result.get("isError")), "text": [c.get("text") for c in result["content"]]}


def main():
    server = Server()
    step("initialize", lambda: server.ask("initialize", {
        "protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}})["result"]["serverInfo"]["name"])
    server.send({"method": "notifications/initialized"})
    step("tools", lambda: sorted(t["name"] for t in server.ask("tools/list")["result"]["tools"]))
    if KIND == "server-postgres":
        reference(server)
    else:
        postgres_mcp(server)
    server.process.stdin.close()
    try:
        server.process.wait(5)
    except subprocess.TimeoutExpired:
        server.process.terminate()


def reference(server):
    resources = server.ask("resources/list").get("result", {}).get("resources", [])
    # The address has the role in it.
    step("list tables", lambda: sorted(r["name"] for r in resources))
    step("describe", lambda: [json.loads(server.ask("resources/read", {"uri": r["uri"]})["result"]["contents"][0]["text"])
                              for r in sorted(resources, key=lambda r: r["name"])])

    def query(sql):
        return server.call("query", sql=sql)

    step("query", lambda: query(steps.AGGREGATE))
    step("rows", lambda: query(steps.ROWS))
    step("large result", lambda: len(json.loads(query(steps.LARGE)["text"][0])))
    step("catalog", lambda: query("SELECT table_name FROM information_schema.tables WHERE table_schema = 'shop' ORDER BY 1"))
    step("explain", lambda: query("EXPLAIN (COSTS off) " + steps.EXPLAIN))
    step("model: denied", lambda: query(steps.DENIED))
    step("model: way out", lambda: query("COMMIT; CREATE TABLE shop.t (a int)"))
    step("usable after a denial", lambda: query("SELECT 'usable' AS x"))


def postgres_mcp(server):
    call = server.call
    step("list schemas", lambda: call("list_schemas"))
    for kind in ("table", "view", "sequence", "extension"):
        step(f"list {kind}s", lambda kind=kind: call("list_objects", schema_name="shop", object_type=kind))
    for kind, name in (("table", "customers"), ("table", "types"), ("view", "customer_list"), ("sequence", "counter")):
        step(f"describe {kind} {name}", lambda kind=kind, name=name: call(
            "get_object_details", schema_name="shop", object_name=name, object_type=kind))
    step("query", lambda: call("execute_sql", sql=steps.AGGREGATE))
    step("rows", lambda: call("execute_sql", sql=steps.ROWS))
    step("large result", lambda: len(call("execute_sql", sql=steps.LARGE)["text"][0]) > 100_000)
    step("explain", lambda: call("explain_query", sql=steps.EXPLAIN))
    step("explain analyze", lambda: call("explain_query", sql=steps.EXPLAIN, analyze=True)["failed"])
    step("indexes for a query", lambda: call("analyze_query_indexes", queries=[steps.EXPLAIN]))
    step("health", lambda: call("analyze_db_health", health_type="all"))
    step("top queries", lambda: call("get_top_queries"))
    step("model: denied", lambda: call("execute_sql", sql=steps.DENIED))
    step("usable after a denial", lambda: call("execute_sql", sql="SELECT 'usable' AS x"))


main()
