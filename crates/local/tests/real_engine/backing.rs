//! The user's own Compose file, shared by environments.

use envctl_local::backing::{self, Backing, BackingError, BackingRef};
use envctl_local::lock::{self, Acquired, Holder, LockRequest};
use envctl_model::labels::{self, Role};
use envctl_model::receipt::End;
use envctl_programs::process::Supervisor;
use serde_json::json;

use crate::support::{IMAGE, World, docker};

#[tokio::test]
async fn backing_services_stay_until_the_last_environment_has_gone() {
    let Some(world) = World::new("backing").await else {
        return;
    };
    let Some(cli) = world.cli() else { return };
    let by = Supervisor::default();
    let file = world.directory.path().join("compose.yaml");
    assert!(matches!(Backing::read(&cli, &by, &file).await, Err(BackingError::Missing(_))));
    let service = json!({
        "image": IMAGE, "command": ["sleep", "600"], "init": true, "expose": ["3306"], "stop_grace_period": "1s",
        "labels": {labels::ROUTE: "aws:5000", labels::IDENTITY: world.identity},
        "healthcheck": {"test": ["CMD", "true"], "interval": "1s"},
    });
    let text = json!({"name": world.identity, "services": {"mysql": service}});
    std::fs::write(&file, text.to_string()).unwrap();
    let read = Backing::read(&cli, &by, &file).await.unwrap();
    assert_eq!(read.services[0].ports, [3306]);
    assert_eq!(read.services[0].route, Some(("aws".to_owned(), 5000)));
    assert!(!backing::is_up(world.reader(), &read).await.unwrap());
    read.up(&cli, &by, |_, _| ()).await.unwrap();
    assert!(backing::is_up(world.reader(), &read).await.unwrap());
    docker(&["inspect", &read.services[0].container]);

    // One environment is up, another one is on its way.
    let role = format!("{}={}", labels::ROLE, Role::Gateway);
    let name = format!("{}=album-yui", labels::ENVIRONMENT);
    let gateway = world.run(&["--network", &read.network, "--label", &role, "--label", &name]);
    let holder = Holder::this_process("here", "aki", "envctl up").unwrap();
    let request = LockRequest {
        key: &world.identity,
        environment: "album-aki",
        image: IMAGE,
        backing: Some(&read.project),
        holder: &holder,
    };
    let Acquired::Lock(lock) = lock::acquire(&world.engine, &request).await.unwrap() else { panic!("held") };
    let shared = BackingRef { project: &read.project, network: &read.network };
    let release = async |me: &str| {
        let started = backing::Before::default();
        backing::release(&world.engine, &cli, &by, &shared, me, Some(&started)).await.unwrap()
    };
    let ends = release("album-other").await;
    assert_eq!(ends[0].0, End::Kept);
    assert_eq!(ends[0].1.used_by, ["album-yui", "album-aki"]);
    lock.release(&world.engine).await.unwrap();
    docker(&["rm", "--force", &gateway]);
    let ends = release("album-yui").await;
    assert_eq!((ends.len(), ends[0].0), (1, End::Gone), "{ends:?}");
    assert!(!backing::is_up(world.reader(), &read).await.unwrap());
}
