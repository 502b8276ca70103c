//! The text-to-SQL benchmark that may lie beside the project: schemas with data, and questions as queries.

use std::path::{Path, PathBuf};

use crate::cluster;

/// Where it is, if it is there: $AGENT_POLICY_WORKLOADS, or beside the project.
pub fn dir() -> Option<PathBuf> {
    let dir = std::env::var_os("AGENT_POLICY_WORKLOADS")
        .map(PathBuf::from)
        .or_else(|| Some(cluster::project_root().parent()?.join("shared/workloads")))?;
    let dir = dir.join("defog");
    dir.join("load.sql").exists().then_some(dir)
}

/// Each query: its id (schema/name), its schema, its text.
pub fn queries(dir: &Path) -> Vec<(String, String, String)> {
    let mut queries = Vec::new();
    for schema in std::fs::read_dir(dir.join("queries"))
        .expect("queries/")
        .flatten()
    {
        let name = schema.file_name().to_string_lossy().into_owned();
        for file in std::fs::read_dir(schema.path())
            .expect("a schema's queries")
            .flatten()
        {
            let text = std::fs::read_to_string(file.path()).expect("a query");
            let id = format!(
                "{name}/{}",
                file.path()
                    .file_stem()
                    .unwrap_or_default()
                    .to_string_lossy()
            );
            queries.push((id, name.clone(), text));
        }
    }
    queries.sort();
    queries
}
