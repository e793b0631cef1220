//! `edgeloop doctor`: what is wrong with the loop on this box or in the cluster and what to type, what this box has that the inferer
//! can use, and with `--tune` which settings make it fastest here.
//!
//! Looks and measures; changes nothing.

mod cluster;
mod facts;
mod finding;
mod single_box;
mod subject;
mod tune;

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use edgeloop_service::exit::{BAD_INPUT, WithExitCode};
use serde_json::json;

use finding::Finding;

/// Looks for what is wrong, on this box and in the cluster, and says what to type. Measures the box with `--tune`.
#[derive(Debug, Args)]
#[command(after_help = "\
  edgeloop doctor                     this box; the cluster too where KUBECONFIG is set or this is a pod
  edgeloop doctor --cluster           the cluster of the kubeconfig
  edgeloop doctor --json | jq '.findings[] | select(.severity == \"error\")'
  edgeloop doctor --tune              which engine and how many instances and threads are fastest here

Ends as monitoring plugins do: 0 all well, 1 with warnings, 2 with errors, 3 when the cluster cannot be asked.")]
pub struct DoctorArgs {
    /// Look at the cluster that the kubeconfig names, and not at a loop on this box
    #[arg(long)]
    pub cluster: bool,

    /// Namespace of the release, where the account may not see all of them [default: the kubeconfig's]
    #[arg(long, short, env = "NAMESPACE")]
    pub namespace: Option<String>,

    /// Key of the node label
    #[arg(long, env = "NODE_LABEL_KEY", default_value = "myapp.com/network-status")]
    pub node_label_key: String,

    /// The state folder of `edgeloop up`
    #[arg(long, env = "STATE_DIR", default_value = "./data", value_name = "DIR")]
    pub state_dir: PathBuf,

    /// Measure engines, precisions, instances and threads, and print the settings to use. Keep the box otherwise idle meanwhile
    #[arg(long)]
    pub tune: bool,

    /// Look at this folder of models [default: the one that `up` used]; measure its promoted model; without it a YOLOv8n with random
    /// weights is measured
    #[arg(long, env = "MODEL_DIR")]
    pub model_dir: Option<PathBuf>,

    /// Input side in pixels of the model that is made where no model folder is given
    #[arg(long, default_value = "640", value_parser = clap::value_parser!(u32).range(32..=4096))]
    pub size: u32,

    /// Seconds for each combination
    #[arg(long, default_value = "3", value_parser = clap::value_parser!(u64).range(1..=600))]
    pub seconds: u64,

    /// Print JSON instead of tables
    #[arg(long)]
    pub json: bool,
}

/// When the cluster cannot be asked: unknown, in the words of monitoring plugins.
const UNKNOWN: u8 = 3;

/// Runs the command.
///
/// # Errors
/// The model cannot be read, or no engine runs it.
pub fn run(args: DoctorArgs) -> anyhow::Result<ExitCode> {
    if args.tune { tune(args) } else { look(&args) }
}

fn look(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let asked = args.cluster || ["KUBECONFIG", "KUBERNETES_SERVICE_HOST"].iter().any(|name| std::env::var_os(name).is_some());
    let facts = facts::facts();
    let mut findings = if args.cluster { Vec::new() } else { single_box::look(&args.state_dir, args.model_dir.as_deref()) };
    let mut unknown = false;
    if asked {
        match cluster::Snapshot::read(&args.node_label_key, args.namespace.as_deref()) {
            Ok(snapshot) => findings.extend(cluster::look(&snapshot)),
            Err(error) => {
                unknown = true;
                findings.push(
                    Finding::error("cluster-unreachable", format!("{error:#}")).command("kubectl get nodes        # works from here?"),
                );
            }
        }
    }
    finding::sort(&mut findings);
    let text = if args.json {
        serde_json::to_string_pretty(&json!({"box": facts, "findings": findings}))?
    } else if findings.is_empty() {
        format!("{}\nNothing is wrong.", facts::words(&facts))
    } else {
        format!("{}\n{}", facts::words(&facts), finding::words(&findings))
    };
    print(&text)?;
    Ok(ExitCode::from(if unknown { UNKNOWN } else { finding::exit_code(&findings) }))
}

fn tune(args: DoctorArgs) -> anyhow::Result<ExitCode> {
    let DoctorArgs { model_dir, size, seconds, json, .. } = args;
    let facts = facts::facts();
    let subject = subject::subject(model_dir, size).exit_code(BAD_INPUT)?;
    let measured = tune::measure(&subject, Duration::from_secs(seconds), |line| eprintln!("{line}"))?;
    let text = if json {
        serde_json::to_string_pretty(&json!({"box": facts, "model": subject.name, "tune": measured}))?
    } else {
        format!("{}{}: {} px\n{}", facts::words(&facts), subject.name, subject.side, measured.words())
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn print(text: &str) -> anyhow::Result<()> {
    match writeln!(std::io::stdout(), "{}", text.trim_end()) {
        // Whoever read it has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        done => done.context("the result cannot be printed"),
    }
}
