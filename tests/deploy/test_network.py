"""The network of the manifests: who reaches which Pod, and by what name."""

from deploy.manifests import (
    FILES,
    Manifest,
    configuration,
    declared_ports,
    load,
    matches,
    of_kind,
    pod_labels,
    workloads,
)


def test_the_service_is_headless(manifests: list[Manifest]) -> None:
    """Clients of SyncService see every ready Pod, under the name and the port of the contract."""
    service = of_kind(manifests, "Service")["clerksync"]["spec"]

    assert service["clusterIP"] == "None"
    assert service["ports"] == [{"name": "grpc", "port": 50051, "targetPort": "grpc"}]
    front = of_kind(manifests, "Deployment")["clerksync-front"]
    assert configuration(manifests, front)["CLERKSYNC_SERVICE_TARGET"] == "dns:///clerksync:50051"


def test_each_service_selects_its_own_pods(manifests: list[Manifest]) -> None:
    """A Service leads to the Deployment of its name and to no other Pod, on ports that its container declares."""
    for name, service in of_kind(manifests, "Service").items():
        selected = [
            other
            for other, workload in workloads(manifests).items()
            if matches({"matchLabels": service["spec"]["selector"]}, pod_labels(workload))
        ]

        assert selected == [name]
        targets = {port["targetPort"] for port in service["spec"]["ports"]}
        assert targets <= declared_ports(workloads(manifests)[name]).keys()


def test_only_the_front_and_declared_clients_reach_sync_service(manifests: list[Manifest]) -> None:
    """SyncService takes calls from the front and from Pods of its namespace with the client label, from nobody else."""
    deployments = of_kind(manifests, "Deployment")
    policy = of_kind(manifests, "NetworkPolicy")["clerksync"]["spec"]
    ports = declared_ports(deployments["clerksync"])
    peers = {port["port"]: rule["from"] for rule in policy["ingress"] for port in rule["ports"]}

    assert matches(policy["podSelector"], pod_labels(deployments["clerksync"]))
    assert peers.keys() == {ports["grpc"], ports["ops"]}
    front, client = peers[ports["grpc"]]
    assert front.keys() == client.keys() == {"podSelector"}
    assert matches(front["podSelector"], pod_labels(deployments["clerksync-front"]))
    assert client["podSelector"] == {"matchLabels": {"clerksync.dev/client": "true"}}
    assert [peer.keys() for peer in peers[ports["ops"]]] == [{"namespaceSelector"}]


def test_the_front_talks_to_sync_service_only(manifests: list[Manifest]) -> None:
    """The front is reached on its HTTP port from anywhere, and itself reaches SyncService and name servers."""
    deployments = of_kind(manifests, "Deployment")
    policy = of_kind(manifests, "NetworkPolicy")["clerksync-front"]["spec"]
    ports = declared_ports(deployments["clerksync-front"])

    assert matches(policy["podSelector"], pod_labels(deployments["clerksync-front"]))
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    open_to_all = [port["port"] for rule in policy["ingress"] if "from" not in rule for port in rule["ports"]]
    assert open_to_all == [ports["http"]]
    to_service, to_names = policy["egress"]
    assert matches(to_service["to"][0]["podSelector"], pod_labels(deployments["clerksync"]))
    assert to_service["ports"] == [{"port": declared_ports(deployments["clerksync"])["grpc"]}]
    assert {port["port"] for port in to_names["ports"]} == {53}


def test_only_the_webhook_path_is_reachable_from_outside() -> None:
    """The example's Ingress lets in exactly the path that Clerk posts to."""
    ingress = of_kind(load(FILES), "Ingress")["clerksync-front"]["spec"]
    service = of_kind(load(FILES), "Service")["clerksync-front"]["spec"]

    assert "defaultBackend" not in ingress
    (path,) = [path for rule in ingress["rules"] for path in rule["http"]["paths"]]
    backend = {"service": {"name": "clerksync-front", "port": {"name": service["ports"][0]["name"]}}}
    assert path == {"path": "/webhooks/clerk", "pathType": "Exact", "backend": backend}
    assert {rule["host"] for rule in ingress["rules"]} == {host for tls in ingress["tls"] for host in tls["hosts"]}
