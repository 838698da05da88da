//! The real Terraform, with its built-in provider.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use envctl_programs::process::{Child, Children, ProgramError, Signals, Supervisor, gone, still_alive};
use envctl_programs::terraform::{
    Action, Closure, Copy, Init, Phase, Purpose, State, Terraform, TerraformError,
};
use serde_json::json;
use support::{on_path, until, write};

struct World {
    dir: tempfile::TempDir,
    terraform: Terraform,
    digest: String,
}

impl World {
    /// A copy of a root with this configuration; none where Terraform is missing.
    fn new(configuration: &str) -> Option<Self> {
        let program = on_path("terraform").or_else(|| on_path("tofu"))?;
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("src/live");
        write(&root.join("main.tf"), configuration);
        let copy = Closure::of(&root, &[]).unwrap().archive_to(&dir.path().join("copy")).unwrap();
        let data = dir.path().join("data");
        let mut terraform = Terraform::new(program, &copy.root, data, "album-aki");
        terraform.env.insert("AWS_EC2_METADATA_DISABLED".into(), "true".into());
        Some(Self { dir, terraform, digest: copy.digest })
    }

    fn plan_file(&self) -> std::path::PathBuf {
        self.dir.path().join("plans/up.plan")
    }

    async fn ready(&self) {
        let by = Supervisor::default();
        self.terraform.init(&self.digest, &by).await.unwrap();
        self.terraform.make_workspace(&by).await.unwrap();
    }
}

const CONFIGURATION: &str = r#"
variable "name" { type = string }
variable "password" {
  type      = string
  sensitive = true
}
resource "terraform_data" "database" {
  input            = var.password
  triggers_replace = var.name
  provisioner "local-exec" { command = "echo making ${var.name}" }
}
resource "terraform_data" "queue" { input = var.name }
output "host" { value = "db.${terraform_data.queue.output}" }
output "password" {
  value     = terraform_data.database.output
  sensitive = true
}
"#;

#[tokio::test]
async fn from_nothing_to_outputs_and_back_without_the_sources() {
    let Some(mut world) = World::new(CONFIGURATION) else {
        return;
    };
    let by = Supervisor::default();
    world.terraform.vars = json!({"name": "aki", "password": "hunter2"}).as_object().unwrap().clone();
    assert_eq!(world.terraform.init(&world.digest, &by).await.unwrap(), Init::Done);
    assert_eq!(world.terraform.init(&world.digest, &by).await.unwrap(), Init::Unchanged);
    assert!(!world.terraform.has_workspace(&by).await.unwrap());
    world.terraform.make_workspace(&by).await.unwrap();
    assert!(world.terraform.has_workspace(&by).await.unwrap());
    let error = world.terraform.make_workspace(&by).await.unwrap_err().to_string();
    assert!(error.contains("already exists"), "{error}");

    let file = world.plan_file();
    let plan = world.terraform.plan(&file, Purpose::Apply, &by, |_| ()).await.unwrap();
    assert_eq!((plan.add, plan.change, plan.replace, plan.destroy), (2, 0, 0, 0));
    assert_eq!(plan.providers, ["terraform.io/builtin/terraform"]);
    assert_eq!(plan.consent().count(), 0);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let data = std::fs::metadata(&world.terraform.data_dir).unwrap();
    assert_eq!(data.permissions().mode() & 0o777, 0o700);

    let mut heard = Vec::new();
    let applied = world.terraform.apply(&file, &by, |p| heard.push(p.clone())).await.unwrap();
    assert_eq!(applied.added, 2);
    let database = "terraform_data.database";
    assert!(heard.iter().any(|p| p.address == database && p.action == "create" && p.phase == Phase::Done));
    let said = Phase::Going(Some("making aki".into()));
    assert!(heard.iter().any(|p| p.action == "local-exec" && p.phase == said), "{heard:?}");

    let State { outputs, resources } = world.terraform.state(&by).await.unwrap();
    assert_eq!(format!("{outputs:?}"), r#"[host = "db.aki", password = (sensitive)]"#);
    assert_eq!(outputs[1].value, "hunter2");
    let addresses: Vec<_> = resources.iter().map(|r| r.address.as_str()).collect();
    assert_eq!(addresses, [database, "terraform_data.queue"]);

    let plan = world.terraform.plan(&file, Purpose::Apply, &by, |_| ()).await.unwrap();
    assert!(plan.is_empty(), "{plan:?}");

    // What destroys something is asked about.
    world.terraform.vars["name"] = "yui".into();
    let plan = world.terraform.plan(&file, Purpose::Apply, &by, |_| ()).await.unwrap();
    let consent: Vec<_> = plan.consent().map(|c| (c.address.as_str(), c.action)).collect();
    assert_eq!(consent, [(database, Action::Replace)]);
    assert_eq!((plan.change, plan.replace), (1, 1));

    // A workspace that still holds something is not deleted.
    let error = world.terraform.delete_workspace(&by).await.unwrap_err().to_string();
    assert!(error.contains("Workspace is not empty") || error.contains("not empty"), "{error}");

    std::fs::remove_dir_all(world.dir.path().join("src")).unwrap();
    let copy = Copy::left_at(&world.dir.path().join("copy")).unwrap().unwrap();
    assert_eq!(copy.digest, world.digest);
    world.terraform.root = copy.root;
    let plan = world.terraform.plan(&file, Purpose::Destroy, &by, |_| ()).await.unwrap();
    assert_eq!(plan.destroy, 2);
    assert_eq!(world.terraform.apply(&file, &by, |_| ()).await.unwrap().destroyed, 2);
    assert_eq!(world.terraform.state(&by).await.unwrap(), State::default());
    world.terraform.delete_workspace(&by).await.unwrap();
    world.terraform.delete_workspace(&by).await.unwrap();
    assert_eq!(world.terraform.workspaces(&by).await.unwrap(), ["default"]);
}

#[tokio::test]
async fn errors_come_in_terraforms_own_words() {
    let Some(world) =
        World::new("locals {\n  x = nope.x\n}\nresource \"terraform_data\" \"a\" {\n  input = local.x\n}\n")
    else {
        return;
    };
    world.ready().await;
    let by = Supervisor::default();
    let error = world.terraform.plan(&world.plan_file(), Purpose::Apply, &by, |_| ()).await.unwrap_err();
    let text = error.to_string();
    for part in [
        "Error: Reference to undeclared resource",
        "on main.tf line 2, in locals:",
        "  2:   x = nope.x",
        "has not been declared",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[tokio::test]
async fn a_root_that_cannot_be_initialised_says_why() {
    let Some(world) = World::new("resource \"terraform_data\" {\n") else {
        return;
    };
    let error = world.terraform.init(&world.digest, &Supervisor::default()).await.unwrap_err();
    assert!(error.to_string().contains("main.tf line 1"), "{error}");
    // A failed init is not taken for done.
    assert!(world.terraform.init(&world.digest, &Supervisor::default()).await.is_err());
}

#[tokio::test]
async fn a_map_that_does_not_know_the_workspace_gets_a_hint() {
    let Some(world) = World::new(
        "locals {\n  stage = terraform.workspace\n  sizes = { staging = 1 }\n}\n\
         resource \"terraform_data\" \"a\" {\n  input = local.sizes[terraform.workspace]\n}\n\
         output \"by_local_value\" {\n  value = local.sizes[local.stage]\n}\n\
         output \"by_function\" {\n  value = lookup(local.sizes, local.stage)\n}\n",
    ) else {
        return;
    };
    world.ready().await;
    let by = Supervisor::default();
    let error = world.terraform.plan(&world.plan_file(), Purpose::Apply, &by, |_| ()).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("Error: Invalid index"), "{text}");
    assert!(text.contains("terraform.workspace is \"album-aki\""), "{text}");
    let hints = text.matches("hint: this root looks something up by the name of the workspace").count();
    assert_eq!(hints, 3, "{text}");
    assert!(text.contains("`workspace` of the target's `terraform`"), "{text}");
}

/// A root whose only resource waits until it is told to go on.
fn waiting(dir: &Path) -> String {
    format!(
        "resource \"terraform_data\" \"a\" {{\n  provisioner \"local-exec\" {{\n    command = \"touch {0}/begun; while [ ! -e {0}/go ]; do sleep 0.05; done; echo made\"\n  }}\n}}\nresource \"terraform_data\" \"b\" {{ depends_on = [terraform_data.a] }}\n",
        dir.display()
    )
}

#[tokio::test]
async fn a_held_lock_is_told_with_its_holder() {
    let dir = tempfile::tempdir().unwrap();
    let Some(world) = World::new(&waiting(dir.path())) else {
        return;
    };
    world.ready().await;
    let by = Supervisor::default();
    let file = world.plan_file();
    world.terraform.plan(&file, Purpose::Apply, &by, |_| ()).await.unwrap();
    let terraform = world.terraform.clone();
    let running = tokio::spawn(async move { terraform.apply(&file, &Supervisor::default(), |_| ()).await });
    until("the apply has begun", || dir.path().join("begun").exists()).await;
    let other = world.dir.path().join("plans/other.plan");
    let mut second = world.terraform.clone();
    second.data_dir = world.dir.path().join("other-data");
    second.lock_timeout = Duration::ZERO;
    let error = second.plan(&other, Purpose::Apply, &by, |_| ()).await.unwrap_err();
    let TerraformError::Locked { lock, .. } = &error else { panic!("{error}") };
    assert_eq!(lock.operation, "OperationTypeApply");
    assert!(lock.who.contains('@') && !lock.id.is_empty(), "{lock:?}");
    std::fs::write(dir.path().join("go"), "").unwrap();
    assert_eq!(running.await.unwrap().unwrap().added, 2);
}

#[tokio::test]
async fn an_interrupt_lets_terraform_note_what_it_made() {
    let dir = tempfile::tempdir().unwrap();
    let Some(world) = World::new(&waiting(dir.path())) else {
        return;
    };
    world.ready().await;
    let file = world.plan_file();
    world.terraform.plan(&file, Purpose::Apply, &Supervisor::default(), |_| ()).await.unwrap();
    let (interrupter, signals) = Signals::new();
    let by = Supervisor { signals, ..Supervisor::default() };
    let terraform = world.terraform.clone();
    let running = tokio::spawn(async move { terraform.apply(&file, &by, |_| ()).await });
    until("the apply has begun", || dir.path().join("begun").exists()).await;
    interrupter.request();
    let error = running.await.unwrap().unwrap_err();
    let interrupted =
        matches!(error, TerraformError::Program(ProgramError::Interrupted { killed: false, .. }));
    assert!(interrupted, "{error}");
    let known = world.terraform.state(&Supervisor::default()).await.unwrap().resources;
    assert_eq!(known.len(), 1, "{known:?}");
}

#[tokio::test]
async fn the_backend_is_told_where_to_keep_states() {
    let Some(mut world) =
        World::new("terraform {\n  backend \"local\" {}\n}\nresource \"terraform_data\" \"a\" {}\n")
    else {
        return;
    };
    let by = Supervisor::default();
    let states = world.dir.path().join("states");
    world.terraform.backend.insert("workspace_dir".into(), states.display().to_string().into());
    world.ready().await;
    let file = world.plan_file();
    world.terraform.plan(&file, Purpose::Apply, &by, |_| ()).await.unwrap();
    world.terraform.apply(&file, &by, |_| ()).await.unwrap();
    assert!(states.join("album-aki/terraform.tfstate").exists());

    // States would be left behind where the backend moves: Terraform refuses, and says so.
    world.terraform.backend.insert("workspace_dir".into(), "elsewhere".into());
    let error = world.terraform.init(&world.digest, &by).await.unwrap_err().to_string();
    assert!(error.contains("Backend configuration changed"), "{error}");
}

#[derive(Default)]
struct Last(Mutex<Option<Child>>);

impl Children for Last {
    fn started(&self, child: &Child) -> std::io::Result<()> {
        *self.0.lock().unwrap() = Some(child.clone());
        Ok(())
    }

    fn ended(&self, _: &Child) {}
}

/// When envctl is killed, its pipes break, and a program that writes to one dies of it.
#[test]
fn terraform_survives_us_and_can_be_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let Some(world) = World::new(&waiting(dir.path())) else {
        return;
    };
    let last = Arc::new(Last::default());
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();

    let killed = runtime();
    killed.block_on(async {
        world.ready().await;
        let file = world.plan_file();
        world.terraform.plan(&file, Purpose::Apply, &Supervisor::default(), |_| ()).await.unwrap();
        let by = Supervisor { children: last.clone(), ..Supervisor::default() };
        let terraform = world.terraform.clone();
        let mut run = Box::pin(async move { terraform.apply(&file, &by, |_| ()).await.map(drop) });
        tokio::select! {
            _ = &mut run => panic!("it waits for us"),
            () = until("the apply has begun", || dir.path().join("begun").exists()) => {}
        }
        // As a killed process would: nobody interrupts, and with the runtime all pipes close.
        std::mem::forget(run);
    });
    drop(killed);

    runtime().block_on(async {
        let child = last.0.lock().unwrap().clone().unwrap();
        assert!(still_alive(&child));
        std::fs::write(dir.path().join("go"), "").unwrap();
        gone(&child).await;
        let known = world.terraform.state(&Supervisor::default()).await.unwrap().resources;
        assert_eq!(known.len(), 2, "{known:?}");
    });
}
