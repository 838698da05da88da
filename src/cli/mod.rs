//! The command line: one file a verb.

mod choose;
mod completions;
mod config;
mod cutover;
mod diff;
mod doctor;
mod down;
mod evidence;
mod exec;
mod extend;
mod gc;
#[cfg(test)]
mod generated;
mod init;
mod job;
mod list;
mod logs;
mod man;
mod open;
mod parity;
mod plan;
mod port_forward;
mod receipt;
mod rehearse;
mod render;
mod restart;
mod run;
mod schema;
mod shell_init;
mod sleep;
#[cfg(test)]
mod stack_page;
mod status;
mod up;
mod whoami;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::config::{Base, Flags};
use crate::ui::{Failure, Format, colour_on_stderr, print};

/// A whole staging environment from one Helm chart; removed with proof.
#[derive(Debug, Parser)]
#[command(name = "envctl", version, max_term_width = 100, disable_help_subcommand = true, after_help = AFTER_HELP)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

/// Seconds to wait: a week at most, which no clock has trouble with.
fn seconds() -> clap::builder::RangedU64ValueParser<u64> {
    clap::value_parser!(u64).range(0..=7 * 24 * 60 * 60)
}

const AFTER_HELP: &str = "\
Exit codes: 0 ok, 1 failed, 2 usage or bad input, 3 refused by a guard, 4 a gate failed, \
5 something is left, 130 interrupted.";

/// Flags of every verb.
#[derive(Debug, Args)]
struct Global {
    /// The environment [default: ENVCTL_ENV, else PROJECT-USER]
    #[arg(long, short, global = true)]
    name: Option<String>,
    /// The target [default: the stack file's]
    #[arg(long, short, global = true)]
    target: Option<String>,
    /// The stack file [default: envctl.yaml here or above]
    #[arg(long, global = true, value_name = "FILE")]
    stack: Option<PathBuf>,
    /// The cluster, by its ARN, where no stack file names it
    #[arg(long, global = true, value_name = "ARN")]
    cluster: Option<String>,
    /// The AWS profile to sign in with [default: the target's]
    #[arg(long, global = true)]
    profile: Option<String>,
    /// JSON instead of text
    #[arg(long, global = true)]
    json: bool,
}

impl Global {
    fn format(&self) -> Format {
        if self.json { Format::Json } else { Format::Text }
    }
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Bring the environment up, or bring it up to date
    Up(up::Arguments),
    /// Remove the environment and prove that nothing is left
    Down(down::Arguments),
    /// Write a stack file for this repository; or a cutover plan, the platform's part of a cluster, its UID
    Init(init::Arguments),
    /// Show what `up` would do
    Plan(plan::Arguments),
    /// List all environments, of everybody
    List,
    /// Show an environment's pods and where it answers
    Status,
    /// Show logs of components
    Logs(logs::Arguments),
    /// Run a command in a component's container
    Exec(exec::Arguments),
    /// Run a command in a pod of its own with a component's exact spec
    Run(run::Arguments),
    /// Run a CronJob now
    Job(job::Arguments),
    /// Replace a component's pods by equal ones
    Restart(restart::Arguments),
    /// Open where the environment answers in a browser
    Open(open::Arguments),
    /// Have a port of this machine lead to a Service or component
    PortForward(port_forward::Arguments),
    /// Let the environment live longer
    Extend(extend::Arguments),
    /// Take all replicas away, and keep everything else
    Sleep,
    /// Give back what sleep has taken away
    Wake(sleep::Wake),
    /// Choose which environment this directory means
    Use(choose::Arguments),
    /// Remove environments that have expired
    Gc(gc::Arguments),
    /// Show the Compose file, or the Kubernetes objects it comes from
    Render(render::Arguments),
    /// Show what differs from a cluster
    Parity(parity::Arguments),
    /// Show what two targets, or two sets of values, would run differently
    Diff(diff::Arguments),
    /// Show what the last `down` proved
    Receipt,
    /// Rehearse the cutover of a component in a sandbox, step by step
    Rehearse(rehearse::Arguments),
    /// Move a component in production, by evidence of its rehearsal
    Cutover(cutover::Arguments),
    /// Make a signer's key; show or verify the evidence of a rehearsal
    Evidence(evidence::Arguments),
    /// Show as whom and where envctl would act in a cluster, and why
    Whoami,
    /// Show what may be wrong with this machine, and what mends it
    Doctor,
    /// Show the settings
    Config(config::Arguments),
    /// Print completions for a shell
    Completions(completions::Arguments),
    /// Print the function `env` for a shell: eval "$(envctl shell-init bash)"
    ShellInit(shell_init::Arguments),
    /// Print a JSON Schema: of the stack file, of a cutover plan, or of what `--json` prints
    Schema(schema::Arguments),
    /// Write the manual pages into a directory
    #[command(hide = true)]
    Man(man::Arguments),
    /// The credential plugin of the kubeconfig that helm gets
    #[command(name = envctl_cluster::release::PLUGIN_VERB, hide = true)]
    ClusterToken {
        /// The file with credentials and cluster
        ticket: PathBuf,
    },
}

/// Parses the command line and does what it says.
pub(crate) fn main() -> ExitCode {
    let Cli { global, verb } = Cli::parse();
    match run(&global, verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(text) = failure.text(colour_on_stderr()) {
                #[allow(clippy::print_stderr, reason = "the one place where errors are printed")]
                {
                    eprintln!("{text}");
                }
            }
            failure.exit_code()
        }
    }
}

fn run(global: &Global, verb: Verb) -> Result<(), Failure> {
    // These need neither settings nor a stack.
    match &verb {
        Verb::Completions(arguments) => return completions::run(arguments),
        Verb::ShellInit(arguments) => return shell_init::run(arguments),
        Verb::Schema(arguments) => return schema::run(arguments),
        Verb::Man(arguments) => return man::run(arguments),
        Verb::ClusterToken { ticket } => {
            print(&envctl_cluster::release::plugin_answer(ticket).map_err(Failure::failed)?);
            return Ok(());
        }
        _ => {}
    }
    let ttl = if let Verb::Up(up) = &verb { up.ttl.clone() } else { None };
    let base = Base::load(Flags {
        name: global.name.clone(),
        target: global.target.clone(),
        ttl,
        stack: global.stack.clone(),
        cluster: global.cluster.clone(),
        profile: global.profile.clone(),
    })?;
    let format = global.format();
    match verb {
        Verb::Up(arguments) => wait_for(up::run(&base, arguments, format)),
        Verb::Down(arguments) => wait_for(down::run(&base, arguments, format)),
        Verb::Init(arguments) => wait_for(init::run(&base, arguments)),
        Verb::Plan(arguments) => wait_for(plan::run(&base, arguments, format)),
        Verb::List => wait_for(list::run(&base, format)),
        Verb::Status => wait_for(status::run(&base, format)),
        Verb::Logs(arguments) => wait_for(logs::run(&base, arguments, format)),
        Verb::Exec(arguments) => wait_for(exec::run(&base, arguments)),
        Verb::Run(arguments) => wait_for(run::run(&base, arguments)),
        Verb::Job(arguments) => wait_for(job::run(&base, arguments)),
        Verb::Restart(arguments) => wait_for(restart::run(&base, arguments, format)),
        Verb::Open(arguments) => wait_for(open::run(&base, &arguments)),
        Verb::PortForward(arguments) => wait_for(port_forward::run(&base, arguments)),
        Verb::Extend(arguments) => wait_for(extend::run(&base, arguments, format)),
        Verb::Sleep => wait_for(sleep::sleep(&base, format)),
        Verb::Wake(arguments) => wait_for(sleep::wake(&base, arguments, format)),
        Verb::Use(arguments) => choose::run(&base, &arguments),
        Verb::Gc(arguments) => wait_for(gc::run(&base, &arguments, format)),
        Verb::Render(arguments) => wait_for(render::run(&base, arguments)),
        Verb::Parity(arguments) => wait_for(parity::run(&base, arguments, format)),
        Verb::Diff(arguments) => wait_for(diff::run(&base, arguments, format)),
        Verb::Receipt => receipt::run(&base, format),
        Verb::Rehearse(arguments) => wait_for(rehearse::run(&base, arguments, format)),
        Verb::Cutover(arguments) => wait_for(cutover::run(&base, arguments, format)),
        Verb::Evidence(arguments) => evidence::run(&base, &arguments, format),
        Verb::Whoami => wait_for(whoami::run(&base, format)),
        Verb::Doctor => wait_for(doctor::run(&base, format)),
        Verb::Config(arguments) => config::run(&base, arguments, format),
        Verb::Completions(_)
        | Verb::ShellInit(_)
        | Verb::Schema(_)
        | Verb::Man(_)
        | Verb::ClusterToken { .. } => Ok(()),
    }
}

fn wait_for(verb: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(Failure::failed)?;
    let done = runtime.block_on(verb);
    // A read of the terminal that nobody types into would be waited for.
    runtime.shutdown_background();
    done
}

/// The names of all verbs, for the shell function.
fn verbs() -> Vec<String> {
    Cli::command().get_subcommands().filter(|c| !c.is_hide_set()).map(|c| c.get_name().to_owned()).collect()
}
