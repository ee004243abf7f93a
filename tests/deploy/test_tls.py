"""gRPC in the manifests: mutual TLS, with certificates that are renewed while the Pods run."""

from deploy.manifests import (
    FILES,
    Manifest,
    configuration,
    container,
    load,
    mounted_secrets,
    of_kind,
    workloads,
)

FOLDER = "/etc/clerksync/tls"
SECRETS = {"clerksync": "clerksync-tls", "clerksync-front": "clerksync-front-client-tls"}


def test_each_workload_mounts_only_its_own_certificate(manifests: list[Manifest]) -> None:
    """SyncService and the front have a certificate each, and the migration, which calls nobody, has none."""
    for name, workload in workloads(manifests).items():
        of_tls = {secret: folder for secret, folder in mounted_secrets(workload).items() if secret in SECRETS.values()}

        assert of_tls == ({SECRETS[name]: FOLDER} if name in SECRETS else {})
        for mount in container(workload).get("volumeMounts", []):
            assert mount["readOnly"] is True
            assert "subPath" not in mount  # It would never see a renewal.


def test_both_sides_have_to_show_a_certificate(manifests: list[Manifest]) -> None:
    """SyncService asks clients for a certificate, and the front shows one and verifies SyncService's."""
    deployments = of_kind(manifests, "Deployment")
    service, front = (configuration(manifests, deployments[name]) for name in SECRETS)

    assert {
        "CLERKSYNC_GRPC_TLS_CERT": f"{FOLDER}/tls.crt",
        "CLERKSYNC_GRPC_TLS_KEY": f"{FOLDER}/tls.key",
        "CLERKSYNC_GRPC_TLS_CLIENT_CA": f"{FOLDER}/ca.crt",
    } == {name: value for name, value in service.items() if "_TLS_" in name}
    assert {
        "CLERKSYNC_SERVICE_TLS_CA": f"{FOLDER}/ca.crt",
        "CLERKSYNC_SERVICE_TLS_CERT": f"{FOLDER}/tls.crt",
        "CLERKSYNC_SERVICE_TLS_KEY": f"{FOLDER}/tls.key",
    } == {name: value for name, value in front.items() if "_TLS_" in name}
    assert "CLERKSYNC_GRPC_PLAINTEXT" not in service | front


def test_the_example_issues_what_is_mounted() -> None:
    """The example has a certificate for each Secret that is mounted; SyncService's holds the name that is dialled."""
    files = load(FILES)
    issued = {
        certificate["spec"]["secretName"]: certificate["spec"] for certificate in of_kind(files, "Certificate").values()
    }
    target = configuration(files, of_kind(files, "Deployment")["clerksync-front"])["CLERKSYNC_SERVICE_TARGET"]

    assert set(SECRETS.values()) <= issued.keys()
    assert target.removeprefix("dns:///").partition(":")[0] in issued["clerksync-tls"]["dnsNames"]
    assert "server auth" in issued["clerksync-tls"]["usages"]
    assert "client auth" in issued["clerksync-front-client-tls"]["usages"]
    issuers = of_kind(files, "Issuer")
    for certificate in issued.values():
        assert certificate["issuerRef"]["name"] in issuers
