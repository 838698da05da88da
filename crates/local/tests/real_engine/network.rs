//! Networks of environments.

use envctl_local::network::{self, NetworkError, NetworkRequest};

use crate::support::{World, docker, no_labels};

#[tokio::test]
async fn environments_get_subnets_of_their_own_and_find_them_again() {
    let Some(world) = World::new("network").await else {
        return;
    };
    let base = "10.123.0.0/18".parse().unwrap(); // room for four
    let taken = ["10.123.0.0/20".parse().unwrap()];
    let labels = no_labels();
    let mut subnets = Vec::new();
    for n in 0..3 {
        let name = format!("{}-{n}", world.identity);
        let request =
            NetworkRequest { name: &name, identity: &world.identity, labels: &labels, base, taken: &taken };
        let made = network::ensure(&world.engine, &request).await.unwrap();
        assert!(made.created);
        let again = network::ensure(&world.engine, &request).await.unwrap();
        assert!(!again.created);
        assert_eq!((again.id, again.subnet), (made.id, made.subnet));
        subnets.push(made.subnet.0);
    }
    subnets.sort();
    subnets.dedup();
    assert_eq!(subnets.len(), 3);
    assert!(!subnets.contains(&taken[0]));
    let name = format!("{}-full", world.identity);
    let request =
        NetworkRequest { name: &name, identity: &world.identity, labels: &labels, base, taken: &taken };
    let error = network::ensure(&world.engine, &request).await.unwrap_err();
    assert!(matches!(error, NetworkError::Exhausted { .. }), "{error}");
}

#[tokio::test]
async fn addresses_given_by_the_engine_are_not_those_given_by_us() {
    let Some(world) = World::new("addresses").await else {
        return;
    };
    let name = world.identity.clone();
    let base = "10.124.0.0/18".parse().unwrap();
    let labels = no_labels();
    let request =
        NetworkRequest { name: &name, identity: &world.identity, labels: &labels, base, taken: &[] };
    let made = network::ensure(&world.engine, &request).await.unwrap();
    let id = world.run(&["--network", &name]);
    let address =
        docker(&["inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", &id]);
    assert!(made.subnet.dynamic().contains(&address.parse::<std::net::Ipv4Addr>().unwrap()), "{address}");
}

#[tokio::test]
async fn a_network_that_is_not_ours_is_never_taken_over() {
    let Some(world) = World::new("stranger").await else {
        return;
    };
    docker(&["network", "create", &world.identity]);
    let labels = no_labels();
    let request = NetworkRequest {
        name: &world.identity,
        identity: &world.identity,
        labels: &labels,
        base: network::DEFAULT_BASE,
        taken: &[],
    };
    let error = network::ensure(&world.engine, &request).await.unwrap_err();
    assert!(matches!(&error, NetworkError::NotOurs { .. }), "{error}");
}
