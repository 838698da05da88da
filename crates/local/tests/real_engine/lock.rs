//! One writer per environment.

use envctl_local::lock::{self, Acquired, Holder, Lock, LockRequest};

use crate::support::{IMAGE, World, docker};

fn me() -> Holder {
    Holder::this_process("here", "aki", "envctl up").unwrap()
}

async fn acquire(world: &World, holder: &Holder) -> Acquired {
    let key = &world.identity;
    let request = LockRequest { key, environment: key, image: IMAGE, backing: None, holder };
    lock::acquire(&world.engine, &request).await.unwrap()
}

fn ours(acquired: Acquired) -> Lock {
    match acquired {
        Acquired::Lock(lock) => lock,
        Acquired::Held(held) => panic!("{held}"),
    }
}

#[tokio::test]
async fn one_of_many_gets_the_lock_and_the_others_learn_who_has_it() {
    let Some(world) = World::new("lock").await else {
        return;
    };
    let holder = me();
    let (mut locks, mut refused) = (Vec::new(), Vec::new());
    let all = tokio::join!(acquire(&world, &holder), acquire(&world, &holder), acquire(&world, &holder));
    for acquired in [all.0, all.1, all.2] {
        match acquired {
            Acquired::Lock(lock) => locks.push(lock),
            Acquired::Held(held) => refused.push(held),
        }
    }
    assert_eq!((locks.len(), refused.len()), (1, 2));
    assert!(
        refused[0].to_string().starts_with("locked by `envctl up` of aki on here (process "),
        "{}",
        refused[0]
    );
    let lock = locks.remove(0);
    assert!(lock.still_held(world.reader()).await.unwrap());
    lock.release(&world.engine).await.unwrap();
    assert_eq!(lock::held(world.reader(), &world.identity).await.unwrap(), None);
    ours(acquire(&world, &holder).await);
}

#[tokio::test]
async fn a_lock_whose_process_is_dead_is_broken_and_another_machines_is_not() {
    let Some(world) = World::new("deadlock").await else {
        return;
    };
    let here = me();
    let dead = Holder { started: "long ago".into(), ..here.clone() };
    let stale = ours(acquire(&world, &dead).await);
    let fresh = ours(acquire(&world, &here).await);
    assert!(!stale.still_held(world.reader()).await.unwrap(), "the broken lock is noticed by its holder");
    stale.release(&world.engine).await.unwrap();
    assert!(
        fresh.still_held(world.reader()).await.unwrap(),
        "releasing a broken lock leaves the new one alone"
    );
    fresh.release(&world.engine).await.unwrap();

    let there = Holder { host: "there".into(), started: "long ago".into(), ..here.clone() };
    ours(acquire(&world, &there).await);
    let Acquired::Held(held) = acquire(&world, &here).await else {
        panic!("another machine's lock was broken")
    };
    let command = held.break_command();
    docker(&command.split(' ').skip(1).collect::<Vec<_>>());
    ours(acquire(&world, &here).await);
}
