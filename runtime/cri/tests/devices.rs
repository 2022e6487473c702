//! Devices that files describe: a container gets what the name stands for.

#![allow(clippy::unwrap_used, reason = "clippy takes only #[test] functions for tests")]

mod support;

use skiff_proto::cri::v1 as pb;
use support::calls::{create, exec, run_sandbox, start};
use support::{Service, container};
use tonic::Code;

/// A node for `/dev/zero` under another name, a file, and a variable.
const SPEC: &str = "
cdiVersion: 0.6.0
kind: acme.com/source
devices:
  - name: zero
    containerEdits:
      env: [\"ACME=zero\"]
      deviceNodes:
        - {path: /dev/acme, hostPath: /dev/zero, permissions: r}
      mounts:
        - {hostPath: FOLDER/library, containerPath: /lib/acme, options: [ro, bind]}
";

fn asking(names: &[&str]) -> pb::ContainerConfig {
    let cdi_devices = names.iter().map(|&name| pb::CdiDevice { name: name.to_owned() }).collect();
    pb::ContainerConfig { cdi_devices, ..container("main", &["/bin/sleep", "1000"]) }
}

#[tokio::test]
async fn a_device_is_had_by_name() {
    let service = Service::start().await;
    let mut runtime = service.runtime().await;
    let folder = service.dir.path().join("cdi");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(service.dir.path().join("library"), "from acme").unwrap();
    let text = SPEC.replace("FOLDER", &service.dir.path().to_string_lossy());
    std::fs::write(folder.join("acme.yaml"), text).unwrap();
    let sandbox = run_sandbox(&mut runtime, service.sandbox("devices")).await;
    let id = create(&mut runtime, &sandbox, asking(&["acme.com/source=zero"])).await.unwrap();
    start(&mut runtime, &id).await;
    let script = "cat /lib/acme; echo \" $ACME\"; test -c /dev/acme && : < /dev/acme && echo there";
    let said = exec(&mut runtime, &id, &["/bin/sh", "-c", script]).await;
    assert_eq!(String::from_utf8_lossy(&said.stdout), "from acme zero\nthere\n", "{said:?}");
    // The control has none of it.
    let mut plain = asking(&[]);
    plain.metadata.as_mut().unwrap().name = "plain".to_owned();
    let plain = create(&mut runtime, &sandbox, plain).await.unwrap();
    start(&mut runtime, &plain).await;
    assert_ne!(exec(&mut runtime, &plain, &["/bin/sh", "-c", "test -e /dev/acme"]).await.exit_code, 0);
    service.finish().await;
}

#[tokio::test]
async fn a_name_that_nobody_describes_is_told() {
    let service = Service::start().await;
    let mut runtime = service.runtime().await;
    let sandbox = run_sandbox(&mut runtime, service.sandbox("none")).await;
    let refused = create(&mut runtime, &sandbox, asking(&["acme.com/source=zero"])).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(refused.message(), "CDI_devices: unresolvable CDI devices acme.com/source=zero");
    service.finish().await;
}
