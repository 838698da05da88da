//! Many cycles, each with a death at a random place and one run after it; many environments at once.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::json;

use super::converge::{Stack, States, config_map, expect, gone, killed_at, places, side_by_side};
use crate::support::cluster::Cluster;
use crate::support::{House, have};

/// How many cycles belong to the ordinary tests; `make chaos` says how many more.
const SAMPLE: usize = 4;
const AT_ONCE: usize = 4;

/// One cycle: which verb dies where.
struct Death {
    verb: &'static [&'static str],
    place: String,
}

const UP: &[&str] = &["up"];
const DOWN: &[&str] = &["down", "--yes"];

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} dies at {}", self.verb[0], self.place)
    }
}

impl Death {
    /// The verb dies, and one `down` later nothing is left.
    fn play(&self, house: &House, cluster: &Cluster) -> Result<(), String> {
        if self.verb == DOWN {
            expect(&house.envctl(UP), 0, &["ready"])?;
        }
        killed_at(house, &self.place, self.verb)?;
        expect(&house.envctl(DOWN), 0, &["0 left"])?;
        gone(house, cluster)
    }
}

/// Numbers that look random, and are the same for the same seed: splitmix64.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % limit as u64).unwrap()
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

#[test]
fn chaos_leaves_nothing_after_one_rerun() {
    let Some(cluster) = Cluster::shared() else { return };
    if !have(&["helm", "terraform"]) {
        return;
    }
    let cycles = number("ENVCTL_CHAOS_CYCLES").map_or(SAMPLE, |n| usize::try_from(n).unwrap());
    let seed = number("ENVCTL_CHAOS_SEED").unwrap_or_else(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        since.as_secs() % 100_000
    });
    eprintln!("chaos: {cycles} cycles, ENVCTL_CHAOS_SEED={seed}");
    let states = States::new(cluster, "chaos");
    let first = states.house("kchaos", Stack::Whole);
    let (ups, downs) = (places(&first, UP), places(&first, DOWN));
    let mut numbers = Numbers(seed);
    let deaths: Vec<_> = (0..cycles)
        .map(|_| {
            let (verb, places) = if numbers.below(2) == 0 { (UP, &ups) } else { (DOWN, &downs) };
            Death { verb, place: places[numbers.below(places.len())].clone() }
        })
        .collect();
    let house = || states.house("kchaos", Stack::Whole);
    let mut projects = side_by_side(&deaths, AT_ONCE, house, |death, house| death.play(house, cluster));
    projects.insert(first.project.clone());
    assert_eq!(states.left(&projects), [""; 0], "ENVCTL_CHAOS_SEED={seed}");
}

#[test]
fn twenty_environments_side_by_side_do_not_disturb_each_other() {
    let Some(cluster) = Cluster::shared() else { return };
    let houses: Vec<House> = (0..20).map(|_| House::raw(cluster, "kmany")).collect();
    let names: BTreeSet<_> = houses.iter().map(House::environment).collect();
    assert_eq!(names.len(), houses.len());
    for house in &houses {
        house.objects(&[
            config_map(&house.environment()),
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
                "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {
                    "terminationGracePeriodSeconds": 0,
                    "containers": [{"name": "web", "image": crate::support::cluster::IMAGE,
                        "command": ["sleep", "infinity"],
                        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}}}]}}}}),
        ]);
    }
    let all = |houses: &[House], arguments: &[&str], says: &str| {
        std::thread::scope(|scope| {
            for house in houses {
                scope.spawn(move || house.envctl(arguments).exits(0).says(says));
            }
        });
    };
    all(&houses, UP, "ready");
    let uid = |house: &House, object: &[&str]| {
        let found = cluster.object(&[object, &["-n", &house.environment()]].concat());
        found["metadata"]["uid"].as_str().map(str::to_owned)
    };
    for house in &houses {
        let settings = cluster.object(&["configmap", "settings", "-n", &house.environment()]);
        assert_eq!(settings["data"]["greeting"], house.environment().as_str());
    }
    // Half of them go; the others do not notice.
    let (stay, go) = houses.split_at(10);
    let before: Vec<_> = stay.iter().map(|house| uid(house, &["deployment", "web"])).collect();
    assert!(before.iter().all(Option::is_some));
    all(go, DOWN, "0 left");
    for house in go {
        gone(house, cluster).unwrap();
    }
    let after: Vec<_> = stay.iter().map(|house| uid(house, &["deployment", "web"])).collect();
    assert_eq!(before, after);
    for house in stay {
        let web = cluster.object(&["deployment", "web", "-n", &house.environment()]);
        assert_eq!(web["status"]["availableReplicas"], 1);
    }
    all(stay, DOWN, "0 left");
    for house in stay {
        gone(house, cluster).unwrap();
    }
}
