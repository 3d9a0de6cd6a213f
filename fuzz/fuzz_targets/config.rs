//! Configurations: no text panics or takes long; a refusal names places that are there; what is
//! accepted holds what `hangu_config::model` says of it, and gives the same again.
#![no_main]

use std::path::Path;

use hangu_config::{Action, Canonical, Config, Problem, Source, Values, diff, load, text};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let input = String::from_utf8_lossy(input);
    let texts = input.split('\u{1}').enumerate();
    let sources: Vec<Source> = texts
        .map(|(index, text)| Source { name: format!("{index}.yaml"), text: text.to_owned() })
        .collect();
    match load(&sources, &Given) {
        Ok(config) => check_config(&config, &sources),
        Err(problems) => check_problems(&problems, &sources),
    }
    check_texts(&input);
});

/// Every variable has its name as its value, every file its path.
struct Given;

impl Values for Given {
    fn env(&self, name: &str) -> Option<String> {
        Some(name.to_owned())
    }

    fn file(&self, path: &Path) -> Result<String, String> {
        Ok(path.display().to_string())
    }
}

fn check_problems(problems: &[Problem], sources: &[Source]) {
    assert!(!problems.is_empty());
    for problem in problems {
        assert!(!problem.what.is_empty() && !problem.to_string().is_empty());
        let source = sources.iter().find(|it| it.name == problem.file).expect("the file is there");
        // The YAML reader counts the line after the last line break too, and takes a carriage
        // return for a line break.
        let lines = source.text.matches(['\n', '\r']).count() + 1;
        assert!(problem.line as usize <= lines + 1, "line {} of {lines}", problem.line);
    }
}

fn check_config(config: &Config, sources: &[Source]) {
    assert!(!config.listeners.is_empty());
    for listener in &config.listeners {
        assert!(!listener.protocols.is_empty() && listener.connections_max > 0);
        assert!(listener.route_config < config.route_configs.len());
    }
    for cluster in &config.clusters {
        assert!(!cluster.endpoints.is_empty() || cluster.dns.is_some());
        assert!(cluster.endpoints.iter().all(|it| it.weight > 0));
    }
    let hosts = config.route_configs.iter().flat_map(|it| &it.virtual_hosts);
    for route in hosts.flat_map(|it| &it.routes) {
        let Action::Forward(forward) = &route.action;
        let sum: u64 = forward.clusters.iter().map(|it| u64::from(it.weight)).sum();
        assert!((1..=u64::from(u32::MAX)).contains(&sum));
        assert!(forward.clusters.iter().all(|it| it.cluster < config.clusters.len()));
    }
    serde_json::to_string(config).expect("a configuration can be shown");
    let again = load(sources, &Given).expect("it was loaded before");
    assert_eq!(&again, config);
    assert!(diff(&again, config).is_empty());
    let form = Canonical::of(config);
    let text = serde_json::to_string(&form).expect("the canonical form can be sent");
    assert_eq!(serde_json::from_str::<Canonical>(&text).ok(), Some(form));
}

fn check_texts(text: &str) {
    if let Ok(duration) = text::read_duration(text) {
        assert_eq!(text::read_duration(&text::write_duration(duration)), Ok(duration));
    }
    if let Ok(bytes) = text::read_size(text) {
        assert_eq!(text::read_size(&text::write_size(bytes)), Ok(bytes));
    }
    if let Ok(pattern) = text::read_pattern(text) {
        assert_eq!(pattern.to_string(), text);
    }
}
