//! Configurations after steps.

use super::*;
use proptest::prelude::*;

fn built(text: &str, given: &[(&str, &str)]) -> Result<(Value, Vec<Effect>), String> {
    let file = Dockerfile::read(text).map_err(|error| error.to_string())?;
    let given = given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let globals = file.global_values(&given).map_err(|error| error.to_string())?;
    let base = json!({"os": "linux", "config": {"Env": ["PATH=/bin", "A=base"], "Cmd": ["old"], "WorkingDir": "/srv"}});
    let mut building = Building::over(&file, base, &globals, &given)?;
    let step = |step: &Step| building.step(step).map_err(|error| error.to_string());
    let effects = file.stages[0].steps.iter().map(step).collect::<Result<_, _>>()?;
    Ok((building.document["config"].clone(), effects))
}

#[test]
fn a_configuration_is_what_the_steps_say() {
    let text = r#"ARG V=1
FROM x
ARG V
ARG W=2$V
ENV A=new B="$A $V" C=${W:-no}
LABEL a.b="c d" e=f
WORKDIR sub
WORKDIR ../app
USER 1000:$V
EXPOSE 80 53/udp 9000-9001
VOLUME /data /cache
STOPSIGNAL SIGUSR1
ENTRYPOINT ["/run"]
HEALTHCHECK NONE
"#;
    let (config, _) = built(text, &[]).unwrap();
    let expected = json!({
        "Env": ["PATH=/bin", "A=new", "B=base 1", "C=21"],
        "Labels": {"a.b": "c d", "e": "f"},
        "WorkingDir": "/srv/app",
        "User": "1000:1",
        "ExposedPorts": {"80/tcp": {}, "53/udp": {}, "9000/tcp": {}, "9001/tcp": {}},
        "Volumes": {"/data": {}, "/cache": {}},
        "StopSignal": "SIGUSR1",
        "Entrypoint": ["/run"],
        "Healthcheck": {"Test": ["NONE"]},
    });
    assert_eq!(config, expected);
}

#[test]
fn shells_run_shell_forms() {
    let (config, effects) = built("FROM x\nCMD a $b\nSHELL [\"/s\", \"-x\"]\nENTRYPOINT c\nRUN d\n", &[]).unwrap();
    assert_eq!(config["Cmd"], json!(["/bin/sh", "-c", "a $b"]));
    assert_eq!(config["Entrypoint"], json!(["/s", "-x", "c"]));
    let Work::Run(run) = &effects[3].work else { panic!("{effects:?}") };
    assert_eq!((run.args.join(" "), run.workdir.as_str()), ("/s -x d".to_owned(), "/srv"));
}

#[test]
fn arguments_are_seen_by_run_and_told_in_the_history_but_proxies_are_not() {
    let (_, effects) =
        built("FROM x\nARG A\nARG N\nRUN make\n", &[("A", "1"), ("N", "2"), ("http_proxy", "p")]).unwrap();
    assert_eq!(effects[2].said, "RUN |1 N=2 /bin/sh -c make");
    let Work::Run(run) = &effects[2].work else { panic!("{effects:?}") };
    assert_eq!(run.env, ["PATH=/bin", "A=base", "N=2", "http_proxy=p"]);
}

#[test]
fn copies_go_where_the_working_folder_is() {
    let (_, effects) =
        built("FROM x\nARG d=y\nCOPY --chown=1:2 a$d b ./\nADD c /e\nCOPY c .\nCOPY c /\n", &[]).unwrap();
    let said: Vec<&str> = effects.iter().skip(1).map(|effect| effect.said.as_str()).collect();
    assert_eq!(said, ["COPY --chown=1:2 ay b /srv/", "ADD c /e", "COPY c /srv/", "COPY c /"]);
}

#[test]
fn refusals() {
    let bad = [
        "EXPOSE 0",
        "EXPOSE 5-4",
        "EXPOSE 80/x",
        "STOPSIGNAL now",
        "ENV a=${b:?is needed}",
        "VOLUME [\"\"]",
        "USER ${",
    ];
    let all: Vec<String> = bad.iter().map(|line| built(&format!("FROM x\n{line}"), &[]).unwrap_err()).collect();
    insta::assert_snapshot!(all.join("\n"));
}

proptest! {
    #[test]
    fn absolute_paths_stay_what_they_are(from in "(/[a-z.]{0,3}){0,3}", path in "[a-z./]{0,12}") {
        let once = absolute(&from, &path);
        prop_assert!(once.starts_with('/') && !once.contains("//") && !once.split('/').any(|part| part == ".."));
        prop_assert_eq!(absolute("/x", &once), once);
    }
}
