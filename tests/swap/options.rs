//! The command line.

use std::{fs, io, path::PathBuf, time::Duration};

use clap::{Parser, ValueEnum};

use crate::{
    group::Group,
    plan::Plan,
    proxy::{Recipe, SwapCommand},
};

/// Swaps a proxy again and again under load and counts what its clients and upstreams notice.
///
/// Commands and templates may name {http}, {http2}, {bolt}, {admin}, {upstream_http},
/// {upstream_http2} and {upstream_bolt} (addresses; with `_port` the port alone), {directory}, {pid}, {swap}, and what --set and --vary
/// define. A swap command ends with 0 when the swap is done; if its last line is a number, that is
/// the process that serves from now on.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Options {
    /// A directory with templates, among them `start`, `swap` and, where it is needed, `pid`,
    /// which are run with `sh`.
    #[arg(long, value_name = "DIRECTORY")]
    proxy: Option<PathBuf>,
    /// A file that is written, with all filled in, to {directory}, and again before each swap; may
    /// be given again.
    #[arg(long = "template", value_name = "FILE")]
    templates: Vec<PathBuf>,
    /// Starts the proxy. Use `exec`, so that the process that is started is the proxy's own.
    #[arg(long, value_name = "COMMAND")]
    start: Option<String>,
    /// Swaps it; if given again, in turn. One that begins with `!` is to fail, and then nothing
    /// else is to happen.
    #[arg(long = "swap", value_name = "COMMAND")]
    swap_commands: Vec<String>,
    /// Prints the id of the process that serves, where neither the command that starts the proxy
    /// nor the one that swaps it tells.
    #[arg(long, value_name = "COMMAND")]
    pid: Option<String>,
    /// What a name stands for.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
    /// What a name stands for after each swap, in turn.
    #[arg(long, value_name = "NAME=VALUE,VALUE..", value_parser = pair)]
    vary: Vec<(String, String)>,

    /// Where the other numbers come from unless they are given.
    #[arg(long, value_enum, default_value_t = Preset::Short)]
    preset: Preset,
    /// Connections with small HTTP/1.1 requests.
    #[arg(long, value_name = "N")]
    http: Option<usize>,
    /// Connections with Bolt requests, several in flight on each.
    #[arg(long, value_name = "N")]
    bolt: Option<usize>,
    /// HTTP/1.1 connections that are silent most of the time.
    #[arg(long, value_name = "N")]
    idle_http: Option<usize>,
    /// Bolt connections that are silent most of the time.
    #[arg(long, value_name = "N")]
    idle_bolt: Option<usize>,
    /// Connections with long bodies of requests.
    #[arg(long, value_name = "N")]
    uploads: Option<usize>,
    /// Connections with long bodies of responses.
    #[arg(long, value_name = "N")]
    downloads: Option<usize>,
    /// Connections upgraded to raw bytes.
    #[arg(long, value_name = "N")]
    tunnels: Option<usize>,
    /// Connections with small HTTP/2 requests, many at once on each.
    #[arg(long, value_name = "N")]
    http2: Option<usize>,
    /// HTTP/2 connections that are silent most of the time.
    #[arg(long, value_name = "N")]
    idle_http2: Option<usize>,
    /// HTTP/2 connections with calls that last for the whole run, four on each.
    #[arg(long, value_name = "N")]
    calls: Option<usize>,
    /// HTTP/2 connections with WebSocket, four on each.
    #[arg(long, value_name = "N")]
    sockets: Option<usize>,
    /// Connections with server-sent events, two in three of them HTTP/2.
    #[arg(long, value_name = "N")]
    events: Option<usize>,
    /// No HTTP/2 is spoken, and no events are sent.
    #[arg(long)]
    no_http2: bool,
    /// Requests a second, the same number in each protocol that is spoken.
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// Requests a second in percent of what the proxy can serve, measured beforehand: the
    /// same number in each protocol that is spoken.
    #[arg(long, value_name = "PERCENT", conflicts_with = "rate")]
    pub(crate) load: Option<f64>,
    /// How long a silent connection is silent, in seconds.
    #[arg(long, value_name = "SECONDS")]
    idle_every: Option<f64>,
    /// New connections a second, each for one request.
    #[arg(long, value_name = "N")]
    storm: Option<f64>,
    /// New connections, each for one request, that are under way at any time while a swap runs:
    /// at least some of them wait in the listener's queue.
    #[arg(long, value_name = "N")]
    backlog: Option<usize>,
    /// How often is swapped.
    #[arg(long, value_name = "N")]
    swaps: Option<u32>,
    /// From the beginning of a swap to that of the next, in seconds.
    #[arg(long, value_name = "SECONDS")]
    interval: Option<f64>,
    /// How long a swap may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 20.0)]
    swap_timeout: f64,
    /// How long a long body takes, in seconds; without it 3.3 times the interval.
    #[arg(long, value_name = "SECONDS")]
    stream_seconds: Option<f64>,
    /// Threads of clients.
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: u32,
    /// No connection speaks Bolt v2; else every fourth one does, with checksums.
    #[arg(long)]
    bolt_v1_only: bool,

    /// Only the run without swaps.
    #[arg(long)]
    pub(crate) baseline: bool,
    /// So many runs, each with a run without swaps after it, for times that can be compared.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) pairs: u32,
    /// In the output of a swap command, the number after this text is the proxy's own account of
    /// the pause, in milliseconds.
    #[arg(long, value_name = "TEXT")]
    pub(crate) pause_after: Option<String>,
    /// How soon after the order the old process is to be gone, in milliseconds.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 1000)]
    pub(crate) gone_ms_max: u64,
    /// So many swaps may be refused, if nobody notices and the old process goes on: on a busy
    /// machine a proxy may rather give up than make its clients wait.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) refused_max: usize,
    /// Whether anything but zeros is a failure.
    #[arg(long, value_enum, default_value_t = Expect::Zeros)]
    pub(crate) expect: Expect,
    /// Prints JSON instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
    /// Where configurations and logs are kept; without it they are removed.
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) keep: Option<PathBuf>,
}

/// How long an old process is waited for where it only is to be reported when it was gone.
const REPORTED_GONE: Duration = Duration::from_secs(120);

/// Whether the exit code tells of what was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Expect {
    /// It is 0 only if nothing was lost, doubled or closed.
    Zeros,
    /// It is 0 whatever was counted.
    Report,
}

/// Numbers that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Preset {
    /// 20 swaps in half a minute with some 400 connections.
    Short,
    /// 20 swaps in two minutes with 1,000 connections.
    Long,
    /// 20 swaps in two minutes with 10,000 connections.
    Crowd,
    /// 50,000 new connections through 5 swaps.
    Storm,
}

impl Preset {
    fn plan(self) -> Plan {
        let short = Plan {
            http: 160,
            bolt: 48,
            idle_http: 120,
            idle_bolt: 40,
            uploads: 12,
            downloads: 12,
            tunnels: 8,
            http2: 24,
            idle_http2: 20,
            calls: 8,
            sockets: 8,
            events: 12,
            http_per_second: 1000.0,
            bolt_per_second: 1000.0,
            http2_per_second: 500.0,
            idle_every: Duration::from_secs(9),
            storm_per_second: 0.0,
            backlog: 0,
            swaps: 20,
            interval: Duration::from_secs(1),
            swap_timeout: Duration::from_secs(20),
            gone_patience: Duration::ZERO,
            stream_lasts: Duration::from_millis(3300),
            warm_up: Duration::from_secs(2),
            threads: 1,
            is_bolt_v1_only: false,
            is_closed_loop: false,
        };
        let long = Plan {
            http: 500,
            bolt: 150,
            idle_http: 230,
            idle_bolt: 70,
            uploads: 20,
            downloads: 20,
            tunnels: 10,
            http2: 60,
            idle_http2: 40,
            calls: 10,
            sockets: 10,
            events: 24,
            idle_every: Duration::from_secs(40),
            interval: Duration::from_secs(6),
            stream_lasts: Duration::from_secs(20),
            ..short.clone()
        };
        match self {
            Self::Short => short,
            Self::Crowd => Plan {
                http: 3000,
                bolt: 950,
                idle_http: 4500,
                idle_bolt: 1500,
                http2: 300,
                idle_http2: 500,
                events: 120,
                warm_up: Duration::from_secs(4),
                ..long
            },
            Self::Storm => Plan {
                storm_per_second: 2000.0,
                backlog: 300,
                swaps: 5,
                interval: Duration::from_secs(5),
                http_per_second: 200.0,
                bolt_per_second: 200.0,
                http2_per_second: 100.0,
                ..short
            },
            Self::Long => long,
        }
    }
}

impl Options {
    /// What each run does.
    pub(crate) fn plan(&self) -> Plan {
        let preset = self.preset.plan();
        let seconds = |given: Option<f64>, other| given.map_or(other, Duration::from_secs_f64);
        let two = |given: Option<usize>, other| match self.no_http2 {
            true => 0,
            false => given.unwrap_or(other),
        };
        let mut plan = Plan {
            http: self.http.unwrap_or(preset.http),
            bolt: self.bolt.unwrap_or(preset.bolt),
            idle_http: self.idle_http.unwrap_or(preset.idle_http),
            idle_bolt: self.idle_bolt.unwrap_or(preset.idle_bolt),
            uploads: self.uploads.unwrap_or(preset.uploads),
            downloads: self.downloads.unwrap_or(preset.downloads),
            tunnels: self.tunnels.unwrap_or(preset.tunnels),
            http2: two(self.http2, preset.http2),
            idle_http2: two(self.idle_http2, preset.idle_http2),
            calls: two(self.calls, preset.calls),
            sockets: two(self.sockets, preset.sockets),
            events: two(self.events, preset.events),
            idle_every: seconds(self.idle_every, preset.idle_every),
            storm_per_second: self.storm.unwrap_or(preset.storm_per_second),
            backlog: self.backlog.unwrap_or(preset.backlog),
            swaps: self.swaps.unwrap_or(preset.swaps),
            interval: seconds(self.interval, preset.interval),
            swap_timeout: Duration::from_secs_f64(self.swap_timeout),
            gone_patience: match self.expect {
                Expect::Zeros => Duration::from_millis(self.gone_ms_max) + Duration::from_secs(5),
                Expect::Report => REPORTED_GONE,
            },
            threads: self.threads.max(1),
            is_bolt_v1_only: self.bolt_v1_only,
            ..preset
        };
        let streams = self.stream_seconds.or(self.interval.map(|it| it * 3.3));
        plan.stream_lasts = seconds(streams, plan.stream_lasts);
        if let Some(rate) = self.rate {
            plan.set_rate(rate);
        }
        plan
    }

    /// What each run does, at a rate in proportion to the highest that the proxy keeps up with, if
    /// that is wanted. `capacity` tells how many requests a second of a group it serves as fast as
    /// they are answered, `keeps_up` whether it keeps up with so many in all.
    ///
    /// # Errors
    /// Those of `capacity` and `keeps_up`.
    pub(crate) fn loaded(
        &self,
        mut capacity: impl FnMut(&Plan, Group) -> io::Result<f64>,
        mut keeps_up: impl FnMut(&Plan, f64) -> io::Result<bool>,
    ) -> io::Result<Plan> {
        let mut plan = self.plan();
        let Some(percent) = self.load else { return Ok(plan) };
        let groups: Vec<Group> = [Group::Http, Group::Bolt, Group::Http2]
            .into_iter()
            .filter(|it| plan.clients(*it) > 0)
            .collect();
        // What a request of each costs at the least; so many can be served in turn at the most.
        let mut cost = 0.0;
        for group in &groups {
            cost += 1.0 / capacity(&plan, *group)?;
        }
        let (mut least, mut most) = (0.0, groups.len() as f64 / cost);
        for _ in 0..TRIALS {
            let middle = f64::midpoint(least, most);
            match keeps_up(&plan, middle)? {
                true => least = middle,
                false => most = middle,
            }
        }
        plan.set_rate(least * percent / 100.0);
        Ok(plan)
    }

    /// How to start and swap the proxy.
    ///
    /// # Errors
    /// The directory cannot be read, or there is no way to start or to swap.
    pub(crate) fn recipe(&self) -> io::Result<Recipe> {
        let mut recipe = Recipe {
            templates: self.templates.clone(),
            start: String::new(),
            swaps: Vec::new(),
            pid: None,
            set: self.set.clone(),
            vary: self.vary.iter().map(|(name, values)| (name.clone(), list(values))).collect(),
        };
        if let Some(directory) = &self.proxy {
            for entry in fs::read_dir(directory)? {
                recipe.templates.push(entry?.path());
            }
            let has = |name: &str| directory.join(name).is_file();
            let command = |name: &str| format!("exec sh {{directory}}/{name}");
            recipe.start = command("start");
            recipe.swaps = vec![SwapCommand { command: command("swap"), fails: false }];
            recipe.pid = has("pid").then(|| command("pid"));
        }
        if let Some(start) = &self.start {
            recipe.start.clone_from(start);
        }
        if !self.swap_commands.is_empty() {
            recipe.swaps = self.swap_commands.iter().map(|it| swap_command(it)).collect();
        }
        if self.pid.is_some() {
            recipe.pid.clone_from(&self.pid);
        }
        if recipe.start.is_empty() || (recipe.swaps.is_empty() && !self.baseline) {
            let text = "--proxy, or --start and --swap, must tell how to start and swap it";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        if recipe.swaps.is_empty() {
            recipe.swaps.push(SwapCommand { command: "false".to_owned(), fails: true });
        }
        Ok(recipe)
    }
}

/// Rates that are tried to find the highest that is kept up with: to a sixteenth of what could be.
const TRIALS: usize = 4;

fn swap_command(text: &str) -> SwapCommand {
    match text.strip_prefix('!') {
        Some(command) => SwapCommand { command: command.trim().to_owned(), fails: true },
        None => SwapCommand { command: text.to_owned(), fails: false },
    }
}

fn list(values: &str) -> Vec<String> {
    values.split(',').map(str::to_owned).collect()
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a name, `=` and a value")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_goes_before_the_preset_and_a_mark_says_that_a_swap_fails() {
        let options = Options::parse_from([
            "hangu-swap",
            "--start=run",
            "--swap=good",
            "--swap=! bad",
            "--http=7",
            "--rate=150",
            "--interval=2",
            "--vary=workers=1,2",
        ]);
        let plan = options.plan();
        assert_eq!((plan.http, plan.bolt, plan.swaps), (7, 48, 20));
        assert_eq!((plan.http_per_second, plan.stream_lasts.as_millis()), (50.0, 6600));
        let recipe = options.recipe().unwrap();
        let fails: Vec<_> = recipe.swaps.iter().map(|it| (it.command.as_str(), it.fails)).collect();
        assert_eq!(fails, [("good", false), ("bad", true)]);
        assert_eq!(recipe.vary, [("workers".to_owned(), vec!["1".to_owned(), "2".to_owned()])]);
        assert!(Options::parse_from(["hangu-swap"]).recipe().is_err());
    }
}
