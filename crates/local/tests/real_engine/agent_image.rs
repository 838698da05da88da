//! The agent's image, loaded without a registry.

use envctl_local::{agent_image, images};

use crate::support::{Removed, World, docker};

#[tokio::test]
async fn the_agents_image_is_loaded_once_and_runs_on_this_engine() {
    let Some(world) = World::new("agent").await else {
        return;
    };
    let binary = format!("not really a program: {}", world.identity);
    let reference = agent_image::reference(binary.as_bytes());
    let _removed = Removed(vec!["rmi".into(), reference.clone()]);
    let first = agent_image::ensure(&world.engine, binary.as_bytes()).await.unwrap();
    assert_eq!((first.reference.as_str(), first.loaded), (reference.as_str(), true));
    let facts = images::inspect(world.reader(), &reference).await.unwrap().unwrap();
    assert_eq!(facts.arch, world.engine.facts().arch);
    assert_eq!(facts.entrypoint, [envctl_wire::AGENT_PATH]);
    assert!(!agent_image::ensure(&world.engine, binary.as_bytes()).await.unwrap().loaded);
}

/// Somebody removes the image while a container of it is being made, and cannot see that. Loaded again it
/// is the same image, so that the container keeps it from then on.
#[tokio::test]
async fn an_image_that_was_taken_from_under_a_container_is_kept_by_it_once_it_is_loaded_again() {
    let Some(world) = World::new("taken").await else {
        return;
    };
    let binary = format!("not really a program: {}", world.identity);
    let reference = agent_image::ensure(&world.engine, binary.as_bytes()).await.unwrap().reference;
    let _image = Removed(vec!["rmi".into(), reference.clone()]);
    let container = docker(&["create", "--label", "dev.envctl.role=test", &reference]);
    let _container = Removed(vec!["rm".into(), container]);
    docker(&["rmi", "--force", &reference]);
    assert!(images::inspect(world.reader(), &reference).await.unwrap().is_none());
    assert!(agent_image::ensure(&world.engine, binary.as_bytes()).await.unwrap().loaded);
    let refused = std::process::Command::new("docker").args(["rmi", &reference]).output().unwrap();
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && words.contains("is using its referenced image"), "{words}");
}
