//! The agent's image, loaded without a registry.

use envctl_local::{agent_image, images};

use crate::support::{Removed, World};

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
