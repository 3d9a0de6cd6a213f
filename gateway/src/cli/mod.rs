//! The command line.
//!
//! Every command ends in an [`Exit`], whose numbers are those of `sysexits.h`; everything that is
//! wrong is one readable text on standard error.

mod check;
mod diff;
mod follow;
mod manual;
mod preflight;
mod remote;
mod run;
mod stop;
mod upgrade;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use hangu_config::LogLevel;

use self::diff::Other;
use self::remote::{Place, Remote};
use crate::control::client::Client;
use crate::demo::{self, Ports};

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All went well.
    Ok = 0,
    /// The command line is wrong (`EX_USAGE`).
    Usage = 64,
    /// Something that is needed is not there: a port in use, too few descriptors, no gateway that
    /// answers (`EX_UNAVAILABLE`).
    Unavailable = 69,
    /// The gateway died: a worker came to an end that it should not have (`EX_SOFTWARE`).
    Internal = 70,
    /// The configuration is wrong or cannot be read (`EX_CONFIG`).
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Hangu, a multi-protocol gateway for HTTP and RPC traffic. Without a command it runs the demo.
#[derive(Debug, Parser)]
#[command(
    name = "hangu",
    version,
    after_help = "Exit codes: 0 well; 64 wrong usage; 69 something needed is not there (port, \
                  descriptors, gateway); 70 the gateway died; 78 wrong configuration.\n\
                  HANGU_LOG (error, warn, info, debug, trace) goes before the configuration's log.level; \
                  HANGU_ADMIN_TOKEN is shown to the admin API."
)]
struct Line {
    #[command(subcommand)]
    command: Option<Command>,
    /// The socket of the running gateway that this process is to take over. Given by that one.
    #[arg(long, global = true, hide = true, value_name = "PATH")]
    take_over: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the gateway until it is told to stop (SIGTERM, Ctrl-C, `hangu stop`).
    Run {
        /// A YAML file, or a directory whose .yaml and .yml files are joined.
        #[arg(long, value_name = "PATH")]
        config: PathBuf,
    },
    /// Checks a configuration and shows all that is wrong with it.
    Check {
        /// A YAML file, or a directory whose .yaml and .yml files are joined.
        #[arg(long, value_name = "PATH")]
        config: PathBuf,
        /// How problems are shown.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
        /// Shows what a reload would change: compared with the gateway that runs, or with another
        /// configuration.
        #[arg(long)]
        diff: bool,
        /// The other configuration.
        #[arg(long, value_name = "PATH", requires = "diff", conflicts_with = "admin")]
        against: Option<PathBuf>,
        #[command(flatten)]
        place: Place,
    },
    /// Lets a running gateway load its configuration again, and shows what changed or what is
    /// wrong.
    Reload {
        #[command(flatten)]
        remote: Remote,
        /// Only says what would change.
        #[arg(long)]
        dry_run: bool,
        /// How it is shown.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Hands a running gateway over to another build of it: listening sockets, connections and
    /// requests in flight move to a new process. Ends well only when that one serves and the old one
    /// is gone; the last line is the new process id.
    Upgrade {
        #[command(flatten)]
        remote: Remote,
        /// The program of the new process. Default: the file that the running one was started from,
        /// which may be another one since.
        #[arg(long, value_name = "PATH")]
        binary: Option<PathBuf>,
        /// Shows each phase with its time as it ends.
        #[arg(long)]
        watch: bool,
    },
    /// Takes an endpoint of a running gateway out of service, or brings it back.
    Endpoint {
        #[command(subcommand)]
        command: EndpointCommand,
    },
    /// Says what a running gateway logs, or sets it.
    LogLevel {
        /// error, warn, info, debug or trace.
        level: Option<LogLevel>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Stops a running gateway gracefully and waits until it has ended.
    Stop(StopArgs),
    /// Runs a gateway with a configuration and upstreams of its own.
    Demo(DemoArgs),
    /// Says which version this is.
    Version {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Writes the completions of a shell to standard output.
    Completions {
        /// Which shell.
        shell: Shell,
    },
    /// Writes the manual page to standard output, or all pages into a directory.
    Man {
        /// The directory; made if it is not there.
        #[arg(long, value_name = "PATH")]
        dir: Option<PathBuf>,
    },
    /// Runs the upstreams of the demo; started by `hangu demo`.
    #[command(name = demo::SUBCOMMAND, hide = true)]
    DemoUpstreams,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

#[derive(Debug, Subcommand)]
enum EndpointCommand {
    /// Lets an endpoint get no new requests; those in flight come to their end.
    Drain(EndpointArgs),
    /// Lets it get requests again.
    Undrain(EndpointArgs),
}

#[derive(Debug, Args)]
struct EndpointArgs {
    /// Name of the cluster.
    cluster: String,
    /// IP:PORT of the endpoint.
    address: SocketAddr,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Args)]
struct StopArgs {
    #[command(flatten)]
    remote: Remote,
    /// How long requests in flight may take to end. Default: the gateway's drain_timeout.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(..=86_400))]
    grace: Option<u32>,
    /// Comes back at once.
    #[arg(long)]
    no_wait: bool,
}

#[derive(Debug, Args)]
struct DemoArgs {
    /// Prints the configuration of the demo and ends.
    #[arg(long, conflicts_with = "try_bolt")]
    print_config: bool,
    /// Sends one Bolt request to a running demo and ends.
    #[arg(long)]
    try_bolt: bool,
    /// Port of the HTTP listener.
    #[arg(long, value_name = "PORT", default_value_t = Ports::default().http)]
    http_port: u16,
    /// Port of the Bolt listener.
    #[arg(long, value_name = "PORT", default_value_t = Ports::default().bolt)]
    bolt_port: u16,
    /// Port of the admin API.
    #[arg(long, value_name = "PORT", default_value_t = Ports::default().admin)]
    admin_port: u16,
}

impl DemoArgs {
    fn ports(&self) -> Ports {
        Ports { http: self.http_port, bolt: self.bolt_port, admin: self.admin_port }
    }
}

/// Does what the command line of this process says.
pub fn main() -> Exit {
    let line = match Line::try_parse() {
        Ok(line) => line,
        Err(error) => {
            // Nobody to tell when standard error is closed.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Ok };
        }
    };
    let take_over = line.take_over.as_deref();
    match line.command {
        None => demo_command(&default_demo(), take_over),
        Some(Command::Demo(args)) => demo_command(&args, take_over),
        Some(Command::Run { config }) => run::run(&config, take_over),
        Some(Command::Upgrade { remote, binary, watch }) => {
            with(remote.client(), |it| upgrade::upgrade(it, binary.as_deref(), watch))
        }
        Some(Command::Check { config, format, diff, against, place }) => {
            let as_json = format == Format::Json;
            match diff {
                true => diff_command(&config, against.as_deref(), &place, as_json),
                false => check::check(&config, as_json),
            }
        }
        Some(Command::Reload { remote, dry_run, format }) => {
            with(remote.client(), |it| remote::reload(it, dry_run, format == Format::Json))
        }
        Some(Command::Endpoint { command }) => endpoint_command(command),
        Some(Command::LogLevel { level, remote }) => {
            with(remote.client(), |it| remote::log_level(it, level))
        }
        Some(Command::Stop(args)) => stop_command(args),
        Some(Command::Version { json }) => version(json),
        Some(Command::Completions { shell }) => manual::completions(shell),
        Some(Command::Man { dir }) => manual::man(dir.as_deref()),
        Some(Command::DemoUpstreams) => match demo::run_upstreams() {
            Ok(()) => Exit::Ok,
            Err(error) => fail(Exit::Unavailable, format!("the demo's upstreams: {error}")),
        },
    }
}

fn default_demo() -> DemoArgs {
    let Ports { http, bolt, admin } = Ports::default();
    DemoArgs {
        print_config: false,
        try_bolt: false,
        http_port: http,
        bolt_port: bolt,
        admin_port: admin,
    }
}

/// Does something with a gateway that was found.
fn with(client: Result<Client, Exit>, act: impl FnOnce(&Client) -> Exit) -> Exit {
    match client {
        Ok(client) => act(&client),
        Err(exit) => exit,
    }
}

fn stop_command(args: StopArgs) -> Exit {
    let StopArgs { remote, grace, no_wait } = args;
    with(remote.client(), |it| stop::stop(it, grace, !no_wait))
}

fn diff_command(path: &Path, against: Option<&Path>, place: &Place, as_json: bool) -> Exit {
    let other = against.map_or(Other::Running(place), Other::Files);
    diff::compare(path, &other, as_json)
}

fn endpoint_command(command: EndpointCommand) -> Exit {
    let (args, is_draining) = match command {
        EndpointCommand::Drain(args) => (args, true),
        EndpointCommand::Undrain(args) => (args, false),
    };
    let EndpointArgs { cluster, address, remote } = args;
    with(remote.client(), |it| remote::endpoint(it, &cluster, address, is_draining))
}

fn demo_command(args: &DemoArgs, take_over: Option<&Path>) -> Exit {
    if args.print_config {
        print!("{}", demo::yaml(args.ports(), None));
        return Exit::Ok;
    }
    if args.try_bolt {
        return try_bolt(args.bolt_port);
    }
    run::demo(args.ports(), take_over)
}

fn try_bolt(port: u16) -> Exit {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match demo::try_bolt(address) {
        Ok(text) => {
            print!("{text}");
            Exit::Ok
        }
        Err(error) => fail(Exit::Unavailable, format!("the demo's Bolt port {address}: {error}")),
    }
}

fn version(as_json: bool) -> Exit {
    let version = env!("CARGO_PKG_VERSION");
    if as_json {
        let protocols: Vec<_> = hangu_codecs::PROTOCOLS.iter().map(|it| it.name).collect();
        println!(
            "{}",
            serde_json::json!({ "name": "hangu", "version": version, "protocols": protocols })
        );
    } else {
        println!("hangu {version}");
    }
    Exit::Ok
}

/// Says what is wrong and how the program ends for it.
fn fail(exit: Exit, why: impl std::fmt::Display) -> Exit {
    eprintln!("error: {why}");
    exit
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Line::command().debug_assert();
    }

    #[test]
    fn no_command_is_the_demo() {
        assert!(Line::try_parse_from(["hangu"]).unwrap().command.is_none());
        let ports = default_demo().ports();
        assert_eq!((ports.http, ports.bolt, ports.admin), (8080, 12_200, 9901));
    }

    #[test]
    fn stop_takes_a_configuration_or_an_address_but_not_both() {
        let parse = |args: &[&str]| Line::try_parse_from([&["hangu", "stop"], args].concat());
        assert!(parse(&[]).is_ok());
        assert!(parse(&["--config", "a.yaml"]).is_ok());
        assert!(parse(&["--admin", "/run/hangu.sock"]).is_ok());
        assert!(parse(&["--admin", "9901"]).is_err());
        assert!(parse(&["--admin", "127.0.0.1:1", "--config", "a.yaml"]).is_err());
    }

    #[test]
    fn a_difference_is_one_to_a_gateway_or_to_another_configuration() {
        let parse = |args: &[&str]| {
            Line::try_parse_from([&["hangu", "check", "--config", "a.yaml"], args].concat())
        };
        assert!(parse(&["--diff"]).is_ok());
        assert!(parse(&["--diff", "--against", "b.yaml"]).is_ok());
        assert!(parse(&["--diff", "--admin", "/run/hangu.sock"]).is_ok());
        assert!(parse(&["--against", "b.yaml"]).is_err());
        assert!(parse(&["--diff", "--against", "b.yaml", "--admin", "127.0.0.1:1"]).is_err());
    }
}
