//! HAProxy between machines of a network and ports of this host.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use envctl_local::balancer::{self, Balancer, BalancerError, BalancerSpec};
use envctl_model::labels;
use envctl_model::receipt::End;
use envctl_programs::process::Supervisor;

use crate::support::{World, docker};

const LONG: Duration = Duration::from_secs(30);

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// One request, and the whole answer.
fn ask(port: u16, text: &str) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

const GET: &str = "GET / HTTP/1.0\r\n\r\n";

struct Fixture {
    world: World,
    spec: BalancerSpec,
    frontend: u16,
    runtime: u16,
}

impl Fixture {
    async fn new(test: &str) -> Option<(Self, String)> {
        let world = World::new(test).await?;
        let cli = world.cli()?;
        let image = balancer::image(&world.engine, &cli, &Supervisor::default(), |_, _| ()).await.unwrap();
        let network = format!("{}-net", world.identity);
        docker(&[
            "network",
            "create",
            "--label",
            &format!("{}={}", labels::IDENTITY, world.identity),
            &network,
        ]);
        let (frontend, runtime) = (free_port(), free_port());
        let directory = world.directory.path().join("haproxy");
        std::fs::create_dir(&directory).unwrap();
        let spec = BalancerSpec {
            name: format!("{}-balancer", world.identity),
            identity: world.identity.clone(),
            network,
            directory,
            ports: BTreeSet::from([frontend, runtime]),
        };
        Some((Self { world, spec, frontend, runtime }, image))
    }

    /// Replaces the configuration, as a program does that must not be seen half way.
    fn write(&self, server: SocketAddr, more: &str) {
        let (frontend, runtime) = (self.frontend, self.runtime);
        let text = format!(
            "global\n  stats socket ipv4@0.0.0.0:{runtime} level admin\n{more}\ndefaults\n  mode http\n  log global\n  \
             option httplog\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\nfrontend f\n  \
             bind :{frontend}\n  default_backend b\nbackend b\n  server one {server}\n"
        );
        let file = self.spec.directory.join("haproxy.cfg");
        std::fs::write(file.with_extension("new"), text).unwrap();
        std::fs::rename(file.with_extension("new"), file).unwrap();
    }
}

/// Answers every connection to an address of this host with a text.
fn serve(address: IpAddr, text: &'static str) -> SocketAddr {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0; 1024]);
            let _ = write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len());
        }
    });
    at
}

#[tokio::test(flavor = "multi_thread")]
async fn the_balancer_reaches_the_host_logs_to_it_and_follows_its_configuration() {
    let Some((fixture, image)) = Fixture::new("balancer").await else { return };
    let engine = &fixture.world.engine;
    let host = balancer::gateway(engine.reader(), &fixture.spec.network).await.unwrap();
    let log = UdpSocket::bind((host, 0)).unwrap();
    log.set_read_timeout(Some(LONG)).unwrap();
    let logged = format!("  log {} format raw local0", log.local_addr().unwrap());
    fixture.write(serve(host, "first"), &logged);
    let balancer = Balancer::up(engine, &image, &fixture.spec).await.unwrap();
    assert!(ask(fixture.frontend, GET).ends_with("first"));
    let mut line = [0; 4096];
    let mut said = String::new();
    while !said.contains("GET / HTTP/1.0") {
        let length = log.recv(&mut line).unwrap();
        said = String::from_utf8_lossy(&line[..length]).into_owned();
    }
    assert!(said.contains("b/one"), "{said}");
    assert!(ask(fixture.runtime, "show servers state b\n").contains(" one "));
    assert!(balancer.address(&fixture.spec.network).await.unwrap().is_some());

    fixture.write(serve(host, "second"), &logged);
    assert!(ask(fixture.frontend, GET).ends_with("first"), "nobody told it yet");
    balancer.reload().await.unwrap();
    assert!(ask(fixture.frontend, GET).ends_with("second"));

    // A configuration that it refuses changes nothing.
    fixture.write(serve(host, "third"), "  nonsense");
    let error = balancer.reload().await.unwrap_err();
    assert!(error.to_string().contains("unknown keyword 'nonsense'"), "{error}");
    assert!(ask(fixture.frontend, GET).ends_with("second"));

    balancer.kill().await.unwrap();
    assert!(!balancer.is_running().await.unwrap());
    let error = balancer.start().await.unwrap_err();
    assert!(error.to_string().contains("unknown keyword 'nonsense'"), "{error}");
    fixture.write(serve(host, "fourth"), &logged);
    balancer.start().await.unwrap();
    assert!(ask(fixture.frontend, GET).ends_with("fourth"));
    balancer.stop().await.unwrap();
    assert!(!balancer.is_running().await.unwrap());
    let (end, item) = balancer.remove().await.unwrap();
    assert_eq!((end, item.id), (End::Gone, fixture.spec.name.clone()));
}

#[tokio::test]
async fn a_port_that_is_taken_says_by_whom_and_leaves_nothing() {
    let Some((fixture, image)) = Fixture::new("taken").await else { return };
    fixture.write(SocketAddr::from(([127, 0, 0, 1], 1)), "");
    let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, fixture.frontend)).unwrap();
    let engine = &fixture.world.engine;
    let error = Balancer::up(engine, &image, &fixture.spec).await.unwrap_err();
    assert!(matches!(&error, BalancerError::PortTaken { port, .. } if *port == fixture.frontend), "{error}");
    let found = envctl_local::state::container(engine.reader(), &fixture.spec.name).await.unwrap();
    assert!(found.is_none(), "{found:?}");
}
