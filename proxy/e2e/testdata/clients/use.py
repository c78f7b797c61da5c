import os
from client import Client

api = Client(os.environ["SIGNALPOST_SERVER"], os.environ["SIGNALPOST_TOKEN"])
print("posting", flush=True)  # nobody listens yet
key = {"Idempotency-Key": "row-1"}
first = api.postSignals(key, {"signal_type": "lead", "name": "Grüße"})
again = api.postSignals(key, {"signal_type": "lead", "name": "Grüße"})
print("once", str(first["id"] == again["id"]).lower(), len(api.getSignals()["signals"]))
for entry in api.getLogLines({"follow": "true", "limit": 100, "route": "crm"}):
    print(entry["attempt"], entry["verdict"], entry["trigger"])
    if entry["verdict"] == "delivered":
        break
    print(api.retryDelivery({"id": entry["delivery"]})["state"])
stored = api.getSignal({"id": first["id"]})
print(stored["signal"]["name"], stored["deliveries"][0]["state"])
try:
    api.getDelivery({"id": "dlv_0"})
except RuntimeError as refused:
    print(refused.__cause__.code)
print(api.getHealth().strip())
