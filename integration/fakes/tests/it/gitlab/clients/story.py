"""A story told by python-gitlab, which knows nothing of us. It ends with status 0 when all of it came true."""

import os
import time

import gitlab

gl = gitlab.Gitlab(os.environ["GITLAB_URL"], private_token=os.environ["GITLAB_TOKEN"], retry_transient_errors=False)
gl.auth()
assert gl.user.username == "root"
assert gl.version()[0].startswith("18.")

group = gl.groups.create({"name": "Team", "path": "team"})
project = gl.projects.create({"name": "Hello", "path": "hello", "namespace_id": group.id})
assert project.path_with_namespace == "team/hello" and project.default_branch is None
try:
    gl.projects.create({"name": "Hello", "path": "hello", "namespace_id": group.id})
    raise SystemExit("the path is taken twice")
except gitlab.exceptions.GitlabCreateError as error:
    assert error.response_code == 400 and error.error_message["path"] == ["has already been taken"]

project.ci_pipeline_variables_minimum_override_role = "developer"
project.save()
variable = project.variables.create({"key": "DEPLOY", "value": "somewhere", "masked": True})
variable.value = "elsewhere"
variable.save()
assert project.variables.get("DEPLOY").value == "elsewhere"
hook = project.hooks.create({"url": os.environ["HOOK_URL"], "push_events": True, "pipeline_events": True, "token": "secret"})
assert hook.alert_status == "executable" and not hasattr(hook, "token")

definition = "build:\n  stage: build\n  script: [make]\nask:\n  stage: deploy\n  script: [ship]\n  when: manual\n"
lint = project.ci_lint.create({"content": definition})
assert lint.valid and not lint.errors
commit = project.commits.create({
    "branch": "main",
    "commit_message": "Begin [ci skip]",
    "actions": [
        {"action": "create", "file_path": ".gitlab-ci.yml", "content": definition},
        {"action": "create", "file_path": "src/a.txt", "content": "a"},
    ],
})
assert project.commits.get(commit.id).title == "Begin [ci skip]"
project = gl.projects.get("team/hello")
assert project.default_branch == "main"
protected = project.protectedbranches.get("main")
assert not protected.allow_force_push
protected.allow_force_push = True
protected.save()
assert project.protectedbranches.get("main").allow_force_push
project.protectedbranches.create({"name": "release/*", "push_access_level": 40})
assert project.files.get("src/a.txt", ref="main").decode() == b"a"
project.files.create({"file_path": "b.txt", "branch": "main", "content": "b", "commit_message": "Second [ci skip]"})
assert [entry["path"] for entry in project.repository_tree(get_all=True)] == [".gitlab-ci.yml", "b.txt", "src"]
project.branches.create({"branch": "topic", "ref": "main"})
project.tags.create({"tag_name": "v1", "ref": "main", "message": "one"})
assert {branch.name for branch in project.branches.list(iterator=True)} == {"main", "topic"}
assert project.repository_compare("main", "topic")["commits"] == []

pipeline = project.pipelines.create({"ref": "main", "variables": [{"key": "A", "value": "1"}]})
assert pipeline.variables.list(get_all=True)[0].key == "A"
for _ in range(600):
    pipeline.refresh()
    if pipeline.status not in ("created", "pending", "running"):
        break
    time.sleep(0.05)
assert pipeline.status == "success", pipeline.status
jobs = {job.name: job for job in pipeline.jobs.list(get_all=True)}
assert jobs["build"].status == "success" and jobs["ask"].status == "manual"
build = project.jobs.get(jobs["build"].id)
assert build.trace() == b"hello from the script\n"
assert build.artifact("out/hello") == b"hello"
assert build.artifacts()[:2] == b"PK"
assert pipeline.test_report.get().total_count == 1
project.jobs.get(jobs["ask"].id).play()
again = project.jobs.get(jobs["build"].id).retry()
assert again["id"] != build.id
assert project.pipelines.latest(ref="main").id == pipeline.id
assert len(project.pipelines.list(sha=pipeline.sha, ref="main", get_all=True)) == 1
pipeline.cancel()

status = project.commits.get(pipeline.sha).statuses.create({"state": "success", "name": "signalbox", "pipeline_id": pipeline.id})
assert status.pipeline_id == pipeline.id
project.files.create({"file_path": "c.txt", "branch": "topic", "content": "c", "commit_message": "Third [ci skip]"})
request = project.mergerequests.create({"source_branch": "topic", "target_branch": "main", "title": "Take it"})
request.notes.create({"body": "built"})
assert request.notes.list(get_all=True)[0].body == "built"
assert request.changes()["changes"][0]["new_path"] == "c.txt"
request.merge()
environment = project.environments.create({"name": "production"})
deployment = project.deployments.create({"environment": "production", "ref": "main", "sha": pipeline.sha, "tag": False, "status": "running"})
deployment.status = "success"
deployment.save()
assert environment.tier == "production"
token = project.access_tokens.create({"name": "bot", "scopes": ["read_api"], "access_level": 30, "expires_at": "2099-01-01"})
assert gitlab.Gitlab(gl.url, private_token=token.token).projects.get(project.id).id == project.id
for number in range(25):
    gl.projects.create({"name": f"many-{number}", "namespace_id": group.id})
assert len(gl.groups.get("team").projects.list(iterator=True)) == 26
assert len(gl.projects.list(pagination="keyset", order_by="id", per_page=10, get_all=True)) == 26
project.delete()
assert gl.projects.get(project.id).marked_for_deletion_on
print("all of it came true")
