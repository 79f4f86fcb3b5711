//! Entrypoint and command, which are inherited as a pair.
//!
//! The engine takes the image's command only when the user gave no entrypoint, and the image's entrypoint only when the
//! user's is absent (an empty list is not). An entrypoint emptied by `--entrypoint ""` goes in as `[""]` and is shown
//! as `null`; one emptied by `[]` is shown as `[]`.

use serde_json::{Value, json};

use super::json::{NOTHING, Object, is_empty};
use super::options::Sources;

/// Takes out what the image put in.
pub(super) fn separate(sources: &Sources<'_>, config: &mut Object) {
    let keep = &sources.options.keep;
    let image = sources.old_config();
    let known = sources.old_image.is_some();
    let entrypoint = config.get("Entrypoint").unwrap_or(NOTHING).clone();
    let command = config.get("Cmd").unwrap_or(NOTHING).clone();
    let (of_image, command_of_image) = (&image["Entrypoint"], &image["Cmd"]);
    if is_empty(&entrypoint) {
        return emptied(sources, config, &entrypoint);
    }
    // The image's command would have come along, had the entrypoint come from it.
    let set_by_user = is_empty(&command) && !is_empty(command_of_image);
    if !known || entrypoint != *of_image || set_by_user || keep.has("Entrypoint") {
        return;
    }
    config.remove("Entrypoint");
    if command == *command_of_image && !keep.has("Cmd") {
        config.remove("Cmd");
    }
}

/// The container has no entrypoint.
fn emptied(sources: &Sources<'_>, config: &mut Object, entrypoint: &Value) {
    let old = sources.old_config();
    let keep = &sources.options.keep;
    let command = config.get("Cmd").unwrap_or(NOTHING);
    let follows = (*command == old["Cmd"] || (is_empty(command) && is_empty(&old["Cmd"]))) && !keep.has("Cmd");
    // Nothing would stand in its way, were the old image known.
    let unknown = sources.old_image.is_none();
    let wanted = !is_empty(&old["Entrypoint"]) || keep.has("Entrypoint");
    if wanted || (unknown && !is_empty(&sources.new_config()["Entrypoint"])) {
        let by_list = entrypoint.is_array();
        config.insert("Entrypoint".to_owned(), if by_list { json!([]) } else { json!([""]) });
        // Beside an empty list the image's command is inherited, beside an empty word it is not.
        if by_list && follows && !unknown {
            config.remove("Cmd");
        }
        return;
    }
    config.remove("Entrypoint");
    if follows && !unknown {
        config.remove("Cmd");
    }
}
