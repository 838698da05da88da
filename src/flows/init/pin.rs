//! `init --pin`: the cluster's UID in the stack file, so that another cluster of the same name is
//! noticed.

use envctl_model::stack::StackFile;

use crate::config::Project;
use crate::ui::Failure;

/// The text of the stack file with `clusterUid` of a target set to `uid`, beside its `cluster`.
pub(crate) fn pinned(project: &Project, target: &str, uid: &str) -> Result<String, Failure> {
    let file = &project.file;
    let source = &file.source;
    let former = file.stack.targets[target].cluster_uid.as_deref();
    let text = match (former, file.span_of_cluster(target)) {
        (Some(former), _) if source.matches(former).count() == 1 => source.replacen(former, uid, 1),
        (None, Some(span)) => insert(source, span.end, uid),
        _ => return Err(by_hand(file, target, uid)),
    };
    // What was put together is read again before it is kept.
    match StackFile::parse(&file.file, &text) {
        Ok(read) if read.stack.targets[target].cluster_uid.as_deref() == Some(uid) => Ok(text),
        _ => Err(by_hand(file, target, uid)),
    }
}

/// Behind the value of `cluster`, as the mapping it stands in is written.
fn insert(source: &str, at: usize, uid: &str) -> String {
    let start = source[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let line = &source[start..at];
    let indent = line.len() - line.trim_start().len();
    let (before, after) = source.split_at(at);
    if line.trim_start().starts_with("cluster") {
        let end = after.find('\n').unwrap_or(after.len());
        let (rest, below) = after.split_at(end);
        format!("{before}{rest}\n{}clusterUid: {uid}{below}", &line[..indent])
    } else {
        format!("{before}, clusterUid: {uid}{after}")
    }
}

fn by_hand(file: &StackFile, target: &str, uid: &str) -> Failure {
    Failure::Failed(format!(
        "cannot find where to put it in {}: write `clusterUid: {uid}` into target `{target}`",
        file.file
    ))
}

#[cfg(test)]
mod tests {
    use super::insert;

    #[test]
    fn both_ways_of_writing_a_mapping_are_kept() {
        let block = "targets:\n  dev:\n    cluster: shared # ours\n    region: x\n";
        let at = block.find("shared").unwrap() + "shared".len();
        assert_eq!(
            insert(block, at, "u-1"),
            "targets:\n  dev:\n    cluster: shared # ours\n    clusterUid: u-1\n    region: x\n"
        );
        let flow = "targets: {dev: {kind: eks, cluster: shared, region: x}}\n";
        let at = flow.find("shared").unwrap() + "shared".len();
        assert_eq!(
            insert(flow, at, "u-1"),
            "targets: {dev: {kind: eks, cluster: shared, clusterUid: u-1, region: x}}\n"
        );
    }
}
