//! The command line.
//!
//! Every command ends in an [`Exit`], whose numbers are those of `sysexits.h`; everything that is
//! wrong is one readable text on standard error.

mod check;
mod files;
mod preflight;
mod run;
mod stop;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::control::client::Target;
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
                  HANGU_LOG sets what is logged to standard error (error, warn, info, debug)."
)]
struct Line {
    #[command(subcommand)]
    command: Option<Command>,
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

#[derive(Debug, Args)]
struct StopArgs {
    /// The configuration that the gateway runs with: tells where its admin API is.
    #[arg(long, value_name = "PATH", conflicts_with = "admin")]
    config: Option<PathBuf>,
    /// Where the admin API is: IP:PORT or the path of a Unix socket.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9901")]
    admin: Target,
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
    match line.command {
        None => demo_command(&default_demo()),
        Some(Command::Demo(args)) => demo_command(&args),
        Some(Command::Run { config }) => run::run(&config),
        Some(Command::Check { config, format }) => check::check(&config, format == Format::Json),
        Some(Command::Stop(args)) => stop_command(args),
        Some(Command::Version { json }) => version(json),
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

fn stop_command(args: StopArgs) -> Exit {
    let StopArgs { config, admin, grace, no_wait } = args;
    let target = match config {
        None => admin,
        Some(path) => match check::load_or_refuse(&path) {
            Ok(config) => Target::from(&config.admin),
            Err(exit) => return exit,
        },
    };
    stop::stop(&target, grace, !no_wait)
}

fn demo_command(args: &DemoArgs) -> Exit {
    if args.print_config {
        print!("{}", demo::yaml(args.ports(), None));
        return Exit::Ok;
    }
    if args.try_bolt {
        return try_bolt(args.bolt_port);
    }
    run::demo(args.ports())
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
}
