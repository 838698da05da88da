//! A repository that nobody wrote for envctl: `init` finds out what is there, and `up` serves it.

use crate::support::{House, copy, have, root};

/// A house with a repository that has a chart, a Dockerfile, and nothing of envctl.
fn repository(what: &str) -> House {
    let house = House::new(what);
    copy(&root().join("tests/fixtures/newcomer"), &house.src());
    house.edit("chart/Chart.yaml", |text| text.replace("name: shop", &format!("name: {}", house.project)));
    house
}

fn written(house: &House) -> String {
    std::fs::read_to_string(house.src().join("envctl.yaml")).unwrap()
}

#[test]
fn from_init_to_a_served_page_without_an_edit() {
    if !have(&["docker", "helm", "curl"]) {
        return;
    }
    let house = repository("newcomer");
    house
        .envctl(&["init"])
        .exits(0)
        .says("wrote envctl.yaml")
        .says(&format!("{} from Dockerfile -> image.repository, image.tag", house.project))
        .says("-> ingress.hosts[0].host")
        .says(&format!("{} (service)", house.project))
        .says("then: envctl up");
    house.envctl(&["up"]).exits(0);
    let host = format!("{0}.{0}-aki.localhost", house.project);
    let (status, page) = house.get(&host, "/");
    assert_eq!((status, page.as_str()), (200, "hello from the image\n"));
    // A chart that is told nothing calls its workload after the release, which no word of the stack file means.
    let (component, pod) = (house.project.as_str(), format!("{}-0", house.project));
    house.envctl(&["exec", component, "--", "hostname"]).exits(0).says(&pod);
    house.envctl(&["restart", component]).exits(0);
    house.envctl(&["down", "--yes"]).exits(0).says("0 left");
    assert_eq!(house.on_engine(), [""; 0]);
}

#[test]
fn what_cannot_be_found_out_is_said_and_marked() {
    if !have(&["helm"]) {
        return;
    }
    let house = repository("todo");
    // Values that are required, a Secret that nobody makes, a variable without default, an address outside.
    house.edit("chart/templates/web.yaml", |text| {
        text.replace(
            "          ports:",
            "          env:\n\
             \x20           - {name: DATABASE, value: {{ required \"a database, please\" .Values.database.host }}}\n\
             \x20           - {name: QUEUE, value: {{ .Values.queue.url | quote }}}\n\
             \x20           - {name: PASSWORD, valueFrom: {secretKeyRef: {name: shop-db, key: password}}}\n\
             \x20         ports:",
        )
    });
    let write = |path: &str, text: &str| {
        let path = house.src().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("values/common.yaml", "queue: {url: 'amqp://queue.internal'}\n");
    write("values/local.yaml", "replicaCount: 1\n");
    write("values/dev.yaml", "replicaCount: 2\n");
    write("terraform/local/main.tf", "provider \"x\" {}\nvariable \"size\" {}\nvariable \"namespace\" {}\n");
    write(
        "compose.yaml",
        "services: {app: {build: .}, mysql: {image: 'mysql:8', ports: ['3306:3306']}, redis: {image: redis}}\n",
    );
    house
        .envctl(&["init"])
        .exits(0)
        .says("TODO values that the chart requires: database.host;")
        .says("TODO Secret shop-db (password): pods read it, and the chart does not make it;")
        .says("TODO variables that the Terraform root requires: size;")
        .says("TODO values that look like addresses")
        .says("wrote envctl.backing.yaml")
        .says("fill in what is missing, then: envctl up");
    let text = written(&house);
    for line in [
        "  values: [values/common.yaml]",
        "    values: [values/local.yaml]",
        "    # database.host: \"\"  # TODO required by the chart",
        "#   shop-db: {password: {generate: 24}}",
        "        # queue.url: \"\"  # TODO is \"amqp://queue.internal\" now; which backing service stands in for it? mysql, redis",
        "    backing: envctl.backing.yaml",
        "    # Not backing: app, the chart runs it",
        "          namespace: \"{{ env.namespace }}\"",
        "          # size: \"\"  # TODO the root has no default for it",
        "  #   values: [values/dev.yaml]",
    ] {
        assert!(text.lines().any(|own| own == line), "{line}\n{text}");
    }
    // It is a stack file all the same, and the settings are read from it.
    house.envctl(&["config"]).exits(0);
    house.envctl(&["init"]).exits(2).says("envctl.yaml is there already, and nothing was written");
    assert_eq!(written(&house), text);
}

#[test]
fn nothing_is_guessed_where_there_is_no_chart_or_more_than_one() {
    let house = House::new("nochart");
    house.envctl(&["init"]).exits(2).says("there is no Helm chart below").says("`manifests: {files: [..]}`");
    for name in ["api", "web"] {
        let dir = house.src().join("charts-of-ours").join(name);
        std::fs::create_dir_all(dir.join("templates")).unwrap();
        std::fs::write(dir.join("Chart.yaml"), format!("{{apiVersion: v2, name: {name}, version: 0.1.0}}\n"))
            .unwrap();
    }
    house
        .envctl(&["init"])
        .exits(2)
        .says("there is more than one chart: say which")
        .says("envctl init --chart charts-of-ours/api\n  envctl init --chart charts-of-ours/web");
    house.envctl(&["init", "--chart", "charts-of-ours"]).exits(2).says("is not the directory of a chart");
    assert!(!house.src().join("envctl.yaml").exists());
    if have(&["helm"]) {
        house.envctl(&["init", "--chart", "./charts-of-ours/web/"]).exits(0).says("wrote envctl.yaml");
        assert!(written(&house).contains("project: web\n"));
    }
}
