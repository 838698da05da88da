//! Terraform for one environment: a copy of the root in the environment's home, where all runs
//! happen, so that `down` is the same with and without the sources.
//!
//! ```text
//! HOME/terraform/root/...        the root and its modules; a local state lies here too
//!                data/           TF_DATA_DIR
//!                plan            the saved plan
//!                planned.json    the digest of the plan that was applied last
//!                vars.json       variables of the last `up`
//!                workspace.json  the workspace, once we are about to create it: then it is ours
//!                outputs.json    the outputs of the last `up`
//!                unfinished      something was begun, and has not ended well
//!                resources.json  what the state knew last, for looking things up after `destroy`
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use envctl_model::receipt::{End, Item};
use envctl_model::record::TerraformRecord;
use envctl_model::stack::StateBackend;
use envctl_model::{Thing, ThingKind, stack};
use envctl_programs::process::{Command, Input, ProgramError, Supervisor};
use envctl_programs::terraform::{
    Answer, Closure, Copy, Declared, ERRORED_STATE, Mode, Output, Plan, Progress, Purpose, Resource, Setting,
    Sought, Terraform, TerraformError,
};
use envctl_rehearse::evidence::Digest;
use envctl_runner::{Context, Done, StepError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Home;
use super::interrupts::Interrupts;
use super::run::supervisor;
use super::step_error::{failed, failure, terraform_failed};
use crate::config::{Programs, Project};
use crate::ui::Failure;

/// A resource as it was last known, enough to look it up once it is gone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Known {
    /// Its address.
    pub(crate) address: String,
    /// Its type.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// Its name.
    pub(crate) name: String,
    /// Its attributes, secrets among them.
    pub(crate) values: Value,
    /// How the root configures its provider, as far as a plan has said.
    #[serde(default)]
    pub(crate) provider: Option<String>,
    /// Whether its provider found it before it was destroyed, so that a later "no" counts.
    #[serde(default)]
    pub(crate) found: bool,
}

/// A file beside the root by which Terraform keeps the state there, whatever else the root says: its name makes
/// it win.
const LOCAL_BACKEND: (&str, &str) =
    ("envctl_backend_override.tf.json", r#"{"terraform": {"backend": {"local": {}}}}"#);

const UNFINISHED: &str = "unfinished";

const PLANNED: &str = "terraform/planned.json";

/// The files of Terraform in an environment's home.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    dir: PathBuf,
}

impl Place {
    /// In this home.
    pub(crate) fn of(home: &Home) -> Self {
        Self { dir: home.file("terraform") }
    }

    /// The saved plan.
    pub(crate) fn plan_file(&self) -> PathBuf {
        self.dir.join("plan")
    }

    /// Brings the copy of the root up to date with the sources.
    pub(crate) fn archive(&self, project: &Project, terraform: &stack::Terraform) -> Result<Copy, Failure> {
        closure(project, terraform)?.archive_to(&self.dir.join("root")).map_err(Failure::failed)
    }

    /// The directory of all of them.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The copy of an earlier `up`.
    pub(crate) fn archived(&self) -> Result<Option<Copy>, Failure> {
        Copy::left_at(&self.dir.join("root")).map_err(Failure::failed)
    }

    /// Terraform on the copy.
    pub(crate) fn terraform(
        &self,
        programs: &Programs,
        record: &TerraformRecord,
        copy: &Copy,
        vars: Map<String, Value>,
    ) -> Terraform {
        let program = programs.terraform_as(&record.program);
        let mut terraform =
            Terraform::new(program, &copy.root, self.dir.join("data"), record.workspace.clone());
        terraform.vars = vars;
        terraform.var_files.clone_from(&record.var_files);
        terraform.backend =
            record.backend_config.iter().map(|(k, v)| (k.clone(), v.clone().into())).collect();
        terraform.env.clone_from(&record.env);
        terraform
    }

    /// Whether a state lies here, and nowhere else.
    pub(crate) fn holds_a_state(&self) -> bool {
        let Ok(Some(copy)) = self.archived() else { return false };
        let workspaces = std::fs::read_dir(copy.root.join("terraform.tfstate.d"));
        let mut workspaces = workspaces.into_iter().flatten().flatten();
        copy.root.join(ERRORED_STATE).exists()
            || workspaces.any(|workspace| workspace.path().join("terraform.tfstate").exists())
    }

    /// Whether a run of this machine began something with Terraform and did not live, or did not manage, to
    /// end it.
    pub(crate) fn is_unfinished(&self) -> bool {
        self.dir.join(UNFINISHED).exists()
    }

    fn begin(&self) -> std::io::Result<()> {
        std::fs::write(self.dir.join(UNFINISHED), "")
    }

    fn finish(&self) -> std::io::Result<()> {
        match std::fs::remove_file(self.dir.join(UNFINISHED)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Remembers the variables of this `up`.
    pub(crate) fn save_variables(&self, home: &Home, vars: &Map<String, Value>) -> Result<(), Failure> {
        home.write_json("terraform/vars.json", vars)
    }

    /// The variables of the last `up`.
    pub(crate) fn variables(&self, home: &Home) -> Result<Map<String, Value>, Failure> {
        Ok(home.read_json("terraform/vars.json")?.unwrap_or_default())
    }

    /// Writes down that a workspace is about to be created by us, having been seen not to exist. The
    /// journal's intent alone would not tell ours from one that was there before.
    pub(crate) fn claim_workspace(&self, home: &Home, workspace: &str) -> Result<(), Failure> {
        home.write_json("terraform/workspace.json", &workspace)
    }

    /// Whether we created any workspace, or were about to.
    pub(crate) fn claims(&self, home: &Home) -> bool {
        home.file("terraform/workspace.json").exists()
    }

    /// Whether we created a workspace, or were about to.
    pub(crate) fn owns_workspace(&self, home: &Home, workspace: &str) -> Result<bool, Failure> {
        let claimed: Option<String> = home.read_json("terraform/workspace.json")?;
        Ok(claimed.as_deref() == Some(workspace))
    }

    /// Remembers the outputs, secrets among them, so that what only looks need not run Terraform.
    pub(crate) fn save_outputs(&self, home: &Home, outputs: &[Output]) -> Result<(), Failure> {
        let kept: Vec<_> = outputs.iter().map(|o| (&o.name, &o.value, o.sensitive)).collect();
        home.write_json("terraform/outputs.json", &kept)
    }

    /// Whether an `up` has applied here, so that the workspace is known to exist. Terraform says so
    /// itself when somebody has deleted it since.
    pub(crate) fn was_applied(&self, home: &Home) -> bool {
        home.file("terraform/outputs.json").exists()
    }

    /// The outputs of the last `up`.
    pub(crate) fn outputs(&self, home: &Home) -> Result<Vec<Output>, Failure> {
        let kept: Vec<(String, Value, bool)> = home.read_json("terraform/outputs.json")?.unwrap_or_default();
        Ok(kept.into_iter().map(|(name, value, sensitive)| Output { name, value, sensitive }).collect())
    }

    /// The digest of the saved plan that was applied last.
    pub(crate) fn planned(&self, home: &Home) -> Result<Option<Digest>, Failure> {
        home.read_json(PLANNED)
    }

    /// As [`configuration`], of the copy by which the last `up` ran.
    pub(crate) fn configuration(&self, terraform: &stack::Terraform) -> Result<Option<Digest>, Failure> {
        Ok(self.archived()?.map(|copy| with_settings(&copy.digest, terraform)))
    }

    /// Remembers what the state knows.
    pub(crate) fn save_resources(&self, home: &Home, resources: &[Resource]) -> Result<Vec<Known>, Failure> {
        let known: Vec<_> = resources
            .iter()
            .filter(|r| r.mode == Mode::Managed)
            .map(|r| Known {
                address: r.address.clone(),
                kind: r.kind.clone(),
                name: r.name.clone(),
                values: r.values.clone(),
                provider: None,
                found: false,
            })
            .collect();
        self.save_known(home, &known)?;
        Ok(known)
    }

    fn save_known(&self, home: &Home, known: &[Known]) -> Result<(), Failure> {
        home.write_json("terraform/resources.json", &known)
    }

    /// What the state knew last.
    pub(crate) fn resources(&self, home: &Home) -> Result<Vec<Known>, Failure> {
        Ok(home.read_json("terraform/resources.json")?.unwrap_or_default())
    }
}

/// The exit code by which a lookup program says that a thing is gone.
const LOOKUP_GONE: i32 = 3;

/// What steps of `up` and `down` do with Terraform.
#[derive(Debug)]
pub(crate) struct Steps<'a> {
    /// Where its files are.
    pub(crate) place: Place,
    /// The environment's home.
    pub(crate) home: &'a Home,
    /// The copy of the root, in the environment's workspace.
    pub(crate) terraform: Terraform,
    /// The digest of the copy.
    pub(crate) digest: String,
    /// Ctrl-C.
    pub(crate) interrupts: &'a Interrupts,
}

impl Steps<'_> {
    fn supervisor(&self, context: &Context) -> Supervisor {
        supervisor(self.interrupts, context)
    }

    /// Initialises the root.
    pub(crate) async fn init(&self, context: &Context) -> Result<(), StepError> {
        let Self { place, home, terraform, .. } = self;
        place.save_variables(home, &terraform.vars).map_err(failure)?;
        context.progress("init");
        terraform.init(&self.digest, &self.supervisor(context)).await.map_err(terraform_failed)?;
        Ok(())
    }

    /// Makes the workspace's name ours, unless somebody else has it.
    pub(crate) async fn claim(&self, context: &Context) -> Result<Claim, StepError> {
        let Self { place, home, terraform, .. } = self;
        let ours =
            place.was_applied(home) || place.owns_workspace(home, &terraform.workspace).map_err(failure)?;
        if ours {
            return Ok(Claim::Earlier);
        }
        let by = self.supervisor(context);
        if terraform.has_workspace(&by).await.map_err(terraform_failed)? {
            return Err(StepError::Refused(format!(
                "the Terraform workspace `{}` exists already, and envctl did not create it\n\
                 choose another environment with --name, or delete that workspace if nobody needs it",
                terraform.workspace
            )));
        }
        place.claim_workspace(home, &terraform.workspace).map_err(failure)?;
        Ok(Claim::Now)
    }

    /// Makes the workspace, once it is claimed.
    pub(crate) async fn make(&self, context: &Context, claim: Claim) -> Result<Done, StepError> {
        let Self { place, home, terraform, .. } = self;
        let by = self.supervisor(context);
        let is_there = match claim {
            Claim::Now => false,
            Claim::Earlier if place.was_applied(home) => true,
            Claim::Earlier => terraform.has_workspace(&by).await.map_err(terraform_failed)?,
        };
        if !is_there {
            terraform.make_workspace(&by).await.map_err(terraform_failed)?;
        }
        let thing = Thing::new(ThingKind::Workspace, terraform.workspace.clone());
        Ok(Done::quiet(if is_there { "unchanged" } else { "created" }).with([thing]))
    }

    /// Plans, and applies exactly that plan, if `guard` lets it. Without `consent` nothing that exists is
    /// destroyed.
    pub(crate) async fn apply(
        &self,
        context: &Context,
        consent: bool,
        guard: &impl PlanGuard,
    ) -> Result<(Vec<Output>, Done), StepError> {
        let Self { place, home, terraform, .. } = self;
        let by = self.supervisor(context);
        let report = |p: &Progress| context.progress(format!("{} {}", p.action, p.address));
        let file = place.plan_file();
        let unfinished = place.is_unfinished();
        self.rescue(context).await?;
        let plan = self.plan(context, Purpose::Apply).await?;
        guard.check(&plan).await?;
        for warning in &plan.warnings {
            context.warn(format!("terraform: {}", warning.summary));
        }
        let lost: Vec<_> =
            plan.consent().map(|c| format!("  {:?} {}", c.action, c.address).to_lowercase()).collect();
        if !lost.is_empty() && !consent {
            return Err(StepError::Refused(format!(
                "Terraform would destroy what exists:\n{}\nnothing was changed; consent with `envctl up --yes`",
                lost.join("\n")
            )));
        }
        let changed = !plan.is_empty();
        if changed {
            // A test that has us die here leaves Terraform at work.
            let applying = |p: &Progress| {
                report(p);
                let _ = context.failpoint("applying");
            };
            let digest = Digest::of(&std::fs::read(&file).map_err(failed)?);
            terraform.apply(&file, &by, applying).await.map_err(terraform_failed)?;
            context.failpoint("applied")?;
            home.write_json(PLANNED, &digest).map_err(failure)?;
        }
        let _ = std::fs::remove_file(&file);
        // What was saved here may be older than the state: of before a run that died, or that another machine
        // made. Where nobody else can have changed it, asking Terraform again only costs time.
        let is_fresh = !changed && !unfinished && place.holds_a_state() && place.was_applied(home);
        let (outputs, known) = if is_fresh {
            (place.outputs(home).map_err(failure)?, place.resources(home).map_err(failure)?)
        } else {
            let state = terraform.state(&by).await.map_err(terraform_failed)?;
            (state.outputs, place.save_resources(home, &state.resources).map_err(failure)?)
        };
        place.save_outputs(home, &outputs).map_err(failure)?;
        place.finish().map_err(failed)?;
        let summary = if changed { summary(&plan) + ", applied" } else { "no changes".to_owned() };
        let things = known.into_iter().map(|r| Thing::new(ThingKind::Resource, r.address));
        Ok((outputs, Done::shown(summary).with(things)))
    }

    /// Plans, and saves the plan.
    async fn plan(&self, context: &Context, purpose: Purpose) -> Result<Plan, StepError> {
        let (by, file) = (self.supervisor(context), self.place.plan_file());
        let report = |p: &Progress| context.progress(format!("{} {}", p.action, p.address));
        let unfinished = self.place.is_unfinished();
        self.place.begin().map_err(failed)?;
        self.unlocking(unfinished, context, || self.terraform.plan(&file, purpose, &by, report)).await
    }

    /// Does what needs the state's lock, and again if an `unfinished` run of this machine has left it.
    async fn unlocking<T, F>(
        &self,
        unfinished: bool,
        context: &Context,
        attempt: impl Fn() -> F,
    ) -> Result<T, StepError>
    where
        F: Future<Output = Result<T, TerraformError>>,
    {
        let outcome = match attempt().await {
            Err(error) if unfinished => {
                self.release(context, error).await?;
                attempt().await
            }
            outcome => outcome,
        };
        outcome.map_err(terraform_failed)
    }

    /// Releases a lock of the state that this machine left when it lost its power, or all its programs at
    /// once: we hold the environment's own lock, and have waited for the programs of runs that died. Any
    /// other error stays one.
    async fn release(&self, context: &Context, error: TerraformError) -> Result<(), StepError> {
        if let TerraformError::Locked { lock, .. } = &error
            && lock.is_of_this_machine()
            && self.terraform.release(lock, &self.supervisor(context)).await.is_ok()
        {
            context.warn(format!(
                "the state's lock of a run that died was released ({}, since {})",
                lock.operation, lock.created
            ));
            return Ok(());
        }
        Err(terraform_failed(error))
    }

    /// Writes the state that an earlier run could not write.
    async fn rescue(&self, context: &Context) -> Result<(), StepError> {
        let by = self.supervisor(context);
        if self.unlocking(self.place.is_unfinished(), context, || self.terraform.rescue_state(&by)).await? {
            context.warn(
                "an earlier Terraform could not write its state, since its backend was away: written now",
            );
        }
        Ok(())
    }

    /// Plans to destroy all that the state knows, if `guard` lets it.
    pub(crate) async fn plan_destroy(
        &self,
        context: &Context,
        guard: &impl PlanGuard,
    ) -> Result<Done, StepError> {
        let Self { place, home, terraform, .. } = self;
        let by = self.supervisor(context);
        let file = place.plan_file();
        // A plan that an earlier run left is of an earlier state.
        let _ = std::fs::remove_file(&file);
        context.progress("init");
        terraform.init(&self.digest, &by).await.map_err(terraform_failed)?;
        let nothing = Done::quiet("nothing to destroy");
        // Whatever reads the state of a missing one makes it again.
        if !terraform.has_workspace(&by).await.map_err(terraform_failed)? {
            return Ok(nothing);
        }
        self.rescue(context).await?;
        // What an `up` wrote and died before it could tell us is in the state alone.
        let (state, plan) = tokio::join!(terraform.state(&by), self.plan(context, Purpose::Destroy));
        let (resources, plan) = (state.map_err(terraform_failed)?.resources, plan?);
        guard.check(&plan).await?;
        if resources.is_empty() || plan.is_empty() {
            let _ = std::fs::remove_file(&file);
            return Ok(nothing);
        }
        // What a `down` that was killed had destroyed by then is still to be looked up.
        let mut destroyed = place.resources(home).map_err(failure)?;
        destroyed.retain(|former| former.found && !resources.iter().any(|r| r.address == former.address));
        let mut known = place.save_resources(home, &resources).map_err(failure)?;
        for resource in &mut known {
            resource.provider = plan.provider_of(&resource.address).map(str::to_owned);
        }
        known.append(&mut destroyed);
        place.save_known(home, &known).map_err(failure)?;
        Ok(Done::shown(format!("{} to destroy", plan.destroy)))
    }

    /// Has the providers find each thing while it is there: only then does it mean something when they
    /// find it no more.
    pub(crate) async fn find(&self, context: &Context) -> Result<Done, StepError> {
        let Self { place, home, .. } = self;
        if !place.plan_file().exists() {
            return Ok(Done::quiet("nothing to destroy"));
        }
        let mut known = place.resources(home).map_err(failure)?;
        let answers = self.ask(context, &known).await?;
        let found = answers.iter().filter(|(_, answer)| *answer == Answer::Exists).count();
        for (n, answer) in answers {
            // What a `down` that was killed found, and then destroyed, was there all the same.
            known[n].found |= answer == Answer::Exists;
        }
        place.save_known(home, &known).map_err(failure)?;
        Ok(Done::quiet(format!("{found} found")))
    }

    /// Destroys what was planned, and says what there was.
    pub(crate) async fn destroy(&self, context: &Context) -> Result<(Vec<Known>, Done), StepError> {
        let Self { place, home, terraform, .. } = self;
        let file = place.plan_file();
        let mut done = Done::quiet("nothing to destroy");
        if file.exists() {
            let by = self.supervisor(context);
            let report = |p: &Progress| {
                context.progress(format!("{} {}", p.action, p.address));
                let _ = context.failpoint("destroying");
            };
            let applied = terraform.apply(&file, &by, report).await.map_err(terraform_failed)?;
            let _ = std::fs::remove_file(&file);
            done = Done::shown(format!("{} destroyed", applied.destroyed));
        }
        context.failpoint("destroyed")?;
        place.finish().map_err(failed)?;
        Ok((place.resources(home).map_err(failure)?, done))
    }

    /// The regions in which the root's providers act, as far as that is certain.
    pub(crate) fn regions(&self) -> BTreeSet<String> {
        let declared = Declared::read(&self.terraform.root, []);
        let providers = declared.providers(&self.terraform.workspace, &self.terraform.vars);
        let regions = providers.into_iter().filter_map(|mut provider| provider.settings.remove("region"));
        regions
            .filter_map(|region| match region {
                Setting::Known(Value::String(region)) => Some(region),
                _ => None,
            })
            .collect()
    }

    /// Looks up what was destroyed: with the root's own program, else by its provider.
    pub(crate) async fn look_up(
        &self,
        context: &Context,
        known: &[Known],
        lookup: &[String],
    ) -> Result<Vec<(End, Item)>, StepError> {
        if let Some((program, arguments)) = lookup.split_first() {
            let by = self.supervisor(context);
            let mut ends = Vec::new();
            for resource in known {
                context.progress(format!("looking up {}", resource.address));
                let command = Command::new(program).args(arguments.iter().cloned());
                ends.push(look_up(resource, command, &self.terraform.root, &by).await?);
            }
            return Ok(ends);
        }
        let unasked = "the Terraform state no longer has it; no plan told which provider it is of";
        let mut ends: Vec<_> =
            known.iter().map(|resource| (End::Unverified, item(resource, unasked.to_owned()))).collect();
        context.progress("looking up what was destroyed");
        for (n, answer) in self.ask(context, known).await? {
            let resource = &known[n];
            ends[n] = match answer {
                Answer::Gone if resource.found => (
                    End::Gone,
                    item(resource, "its provider, which had found it before, finds it no more".to_owned()),
                ),
                Answer::OnlyInState => (
                    End::Gone,
                    item(
                        resource,
                        "it lived in the Terraform state alone, which no longer has it".to_owned(),
                    ),
                ),
                Answer::Exists => {
                    let remove = format!("look at {}: Terraform no longer knows of it", resource.address);
                    let found = item(resource, "its provider still finds it".to_owned());
                    (End::Left, Item { remove: Some(remove), ..found })
                }
                Answer::Gone => {
                    let why = "the Terraform state no longer has it; its provider finds nothing, and found nothing before it was destroyed either";
                    (End::Unverified, item(resource, why.to_owned()))
                }
                Answer::Unknown(why) => {
                    (End::Unverified, item(resource, format!("the Terraform state no longer has it; {why}")))
                }
            };
        }
        Ok(ends)
    }

    /// What the providers say of those that can be asked for, by their place in the list.
    async fn ask(&self, context: &Context, known: &[Known]) -> Result<Vec<(usize, Answer)>, StepError> {
        let (mut places, mut sought) = (Vec::new(), Vec::new());
        for (n, resource) in known.iter().enumerate() {
            let id = resource.values["id"].as_str();
            // A provider that a module configures for itself is out of reach from the root.
            let provider = resource.provider.as_ref().filter(|key| !key.contains(':'));
            if let (Some(id), Some(provider)) = (id, provider) {
                places.push(n);
                sought.push(Sought {
                    kind: resource.kind.clone(),
                    id: id.to_owned(),
                    provider: Some(provider.clone()),
                });
            }
        }
        let scratch = self.place.dir().join("lookup");
        let answers = self.terraform.look_up(&sought, &scratch, &self.supervisor(context)).await;
        Ok(places.into_iter().zip(answers.map_err(terraform_failed)?).collect())
    }

    /// Deletes the workspace, and looks it up.
    pub(crate) async fn delete_workspace(&self, context: &Context) -> Result<(End, Item), StepError> {
        let terraform = &self.terraform;
        let by = self.supervisor(context);
        if let Err(error) = terraform.delete_workspace(&by).await {
            self.release(context, error).await?;
            terraform.delete_workspace(&by).await.map_err(terraform_failed)?;
        }
        let item = |evidence: &str, remove| Item {
            kind: ThingKind::Workspace,
            id: terraform.workspace.clone(),
            evidence: evidence.to_owned(),
            used_by: vec![],
            remove,
        };
        if terraform.has_workspace(&by).await.map_err(terraform_failed)? {
            let root = terraform.root.display();
            let remove = format!("terraform -chdir={root} workspace delete {}", terraform.workspace);
            return Ok((End::Left, item("`terraform workspace list` still names it", Some(remove))));
        }
        Ok((End::Gone, item("`terraform workspace list` does not name it", None)))
    }
}

/// Since when a workspace's name is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// An earlier run claimed it, and may have made it.
    Earlier,
    /// This run: there was none.
    Now,
}

/// Whether a plan may be applied, whatever the user consents to.
pub(crate) trait PlanGuard: Sync {
    /// # Errors
    /// Why it may not.
    fn check(&self, plan: &Plan) -> impl Future<Output = Result<(), StepError>> + Send;
}

fn summary(plan: &Plan) -> String {
    let parts = [
        (plan.add, "to add"),
        (plan.change, "to change"),
        (plan.replace, "to replace"),
        (plan.destroy, "to destroy"),
    ];
    let parts: Vec<_> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    if parts.is_empty() { "outputs changed".to_owned() } else { parts.join(", ") }
}

/// A line of the receipt about a resource.
fn item(resource: &Known, evidence: String) -> Item {
    Item { kind: ThingKind::Resource, id: resource.address.clone(), evidence, used_by: vec![], remove: None }
}

/// Has the root's own program look a destroyed resource up where it really was.
async fn look_up(
    resource: &Known,
    program: Command,
    root: &Path,
    by: &Supervisor,
) -> Result<(End, Item), StepError> {
    let item = |evidence| item(resource, evidence);
    let question = serde_json::to_vec(resource).map_err(failed)?;
    let asked =
        program.current_dir(root).input(Input::Bytes(question.into())).accept([0, LOOKUP_GONE]).run(by).await;
    Ok(match asked {
        Ok(output) => {
            let said = output.stdout_text().trim().to_owned();
            if output.code == LOOKUP_GONE {
                (
                    End::Gone,
                    item(if said.is_empty() {
                        "the lookup program did not find it".to_owned()
                    } else {
                        said
                    }),
                )
            } else {
                let remove = format!("look at {}: Terraform no longer knows of it", resource.address);
                (End::Left, Item { remove: Some(remove), ..item(said) })
            }
        }
        Err(ProgramError::Interrupted { .. }) => return Err(StepError::Interrupted),
        Err(error) => (End::Unverified, item(format!("the lookup program could not tell: {error}"))),
    })
}

/// All files of a root, and what envctl adds to them.
fn closure(project: &Project, terraform: &stack::Terraform) -> Result<Closure, Failure> {
    let root = project.dir.join(&terraform.path.value);
    let extra: Vec<_> = terraform.var_files.iter().map(|file| root.join(&file.value)).collect();
    let mut closure = Closure::of(&root, &extra)
        .map_err(|e| Failure::Input(project.file.error_at(&terraform.path, e.to_string(), None)))?;
    if terraform.backend.as_ref().is_some_and(|backend| backend.value == StateBackend::Local) {
        closure.add(LOCAL_BACKEND.0, LOCAL_BACKEND.1);
    }
    Ok(closure)
}

/// The digest of a root: of all its files and those that it names elsewhere, and of what the stack file gives it.
pub(crate) fn configuration(project: &Project, terraform: &stack::Terraform) -> Result<Digest, Failure> {
    let files = closure(project, terraform)?.digest().map_err(Failure::failed)?;
    Ok(with_settings(&files, terraform))
}

fn with_settings(files: &str, terraform: &stack::Terraform) -> Digest {
    let var_files: Vec<_> = terraform.var_files.iter().map(|file| file.value.display().to_string()).collect();
    let env: BTreeMap<_, _> = terraform.env.iter().map(|(name, value)| (name, &value.value)).collect();
    Digest::of(json!([files, var_files, env]).to_string().as_bytes())
}

/// What the target's root says before Terraform runs.
pub(crate) fn declared(project: &Project, target: &stack::Target) -> Declared {
    let Some(terraform) = &target.terraform else { return Declared::default() };
    let root = project.dir.join(&terraform.path.value);
    let var_files: Vec<_> = terraform.var_files.iter().map(|file| root.join(&file.value)).collect();
    Declared::read(&root, var_files.iter().map(PathBuf::as_path))
}
