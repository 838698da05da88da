//! The machine's router, with a stub in the agent's place.

use std::net::TcpListener;

use envctl_local::agent_image;
use envctl_local::port_owner::PortOwner;
use envctl_local::router::{self, Change, RouterError};
use envctl_model::labels::{self, Role};
use envctl_model::receipt::End;

use crate::support::{Removed, World, stub_agent};

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn the_router_is_shared_replaced_and_removed_with_its_last_user() {
    let Some(world) = World::new("router").await else {
        return;
    };
    let Some(stub) = stub_agent() else { return };
    let older = [stub, b" "].concat();
    let mut images = Vec::new();
    let mut removed = Vec::new();
    for binary in [stub, &older] {
        let image = agent_image::ensure(&world.engine, binary).await.unwrap();
        removed.push(Removed(vec!["rmi".into(), image.reference.clone()]));
        images.push(image.reference);
    }
    let port = free_port();
    let name = router::name(port);
    let _router = Removed(vec!["rm".into(), "--force".into(), name.clone()]);
    let ensure =
        async |image: &str, identity: &str| router::ensure(&world.engine, port, image, identity).await;

    assert_eq!(ensure(&images[1], "a").await.unwrap().change, Change::Created);
    assert_eq!(ensure(&images[1], "a").await.unwrap().change, Change::None);
    std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    assert_eq!(ensure(&images[0], "a").await.unwrap().change, Change::Upgraded);

    // A gateway of another environment joins: from now on the router is not ours alone.
    let gateway = format!("{}={}", labels::ROLE, Role::Gateway);
    let environment = format!("{}=album-yui", labels::ENVIRONMENT);
    let gateway = world.run(&["--network", &name, "--label", &gateway, "--label", &environment]);
    let users = router::users(world.reader(), port).await.unwrap();
    assert_eq!(users.values().collect::<Vec<_>>(), ["album-yui"]);
    assert_eq!(ensure(&images[1], "a").await.unwrap().change, Change::None, "others use the newer one");
    let ends = router::remove_unused(&world.engine, port).await.unwrap();
    assert_eq!((ends[0].0, ends[0].1.used_by.as_slice()), (End::Kept, &["album-yui".to_owned()][..]));

    crate::support::docker(&["rm", "--force", &gateway]);
    let ends = router::remove_unused(&world.engine, port).await.unwrap();
    assert_eq!(ends[0].0, End::Gone, "{ends:?}");
    assert_eq!(router::remove_unused(&world.engine, port).await.unwrap(), []);
}

#[tokio::test]
async fn a_taken_port_is_refused_with_the_name_of_who_has_it() {
    let Some(world) = World::new("port").await else {
        return;
    };
    let Some(stub) = stub_agent() else { return };
    let image = agent_image::ensure(&world.engine, &[stub, b"  "].concat()).await.unwrap();
    let _image = Removed(vec!["rmi".into(), image.reference.clone()]);
    let taken_by = async |port: u16| {
        let error = router::ensure(&world.engine, port, &image.reference, "a").await.unwrap_err();
        router::remove_unused(&world.engine, port).await.unwrap();
        match error {
            RouterError::PortTaken { owner, .. } => owner,
            other => panic!("{other}"),
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let owner = taken_by(listener.local_addr().unwrap().port()).await;
    assert!(matches!(owner, PortOwner::Process { pid, .. } if pid == std::process::id()), "{owner}");

    let port = free_port();
    let published = format!("127.0.0.1:{port}:80");
    world.run(&["--publish", &published, "--name", &world.identity]);
    let owner = taken_by(port).await;
    assert_eq!(owner.to_string(), format!("the container {}", world.identity));
}
