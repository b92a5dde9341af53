// A story told by GitLab's own client for Go, which knows nothing of us. It ends with status 0 when all of it came true.
package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	gitlab "gitlab.com/gitlab-org/api/client-go"
)

func must[T any](value T, _ *gitlab.Response, err error) T {
	check(err == nil, "%v", err)
	return value
}

func check(fine bool, words string, values ...any) {
	if !fine {
		fmt.Fprintf(os.Stderr, words+"\n", values...)
		os.Exit(1)
	}
}

func main() {
	client, err := gitlab.NewClient(os.Getenv("GITLAB_TOKEN"), gitlab.WithBaseURL(os.Getenv("GITLAB_URL")), gitlab.WithoutRetries())
	check(err == nil, "%v", err)
	check(must(client.Users.CurrentUser()).Username == "root", "the user")
	group := must(client.Groups.CreateGroup(&gitlab.CreateGroupOptions{Name: gitlab.Ptr("Team"), Path: gitlab.Ptr("team")}))
	project := must(client.Projects.CreateProject(&gitlab.CreateProjectOptions{Name: gitlab.Ptr("Hello"), Path: gitlab.Ptr("hello"), NamespaceID: gitlab.Ptr(group.ID)}))
	check(project.PathWithNamespace == "team/hello", "the path: %s", project.PathWithNamespace)
	_, response, err := client.Projects.CreateProject(&gitlab.CreateProjectOptions{Path: gitlab.Ptr("hello"), NamespaceID: gitlab.Ptr(group.ID)})
	check(err != nil && response.StatusCode == 400 && strings.Contains(err.Error(), "has already been taken"), "taken twice: %v", err)

	hook := must(client.Projects.AddProjectHook(project.ID, &gitlab.AddProjectHookOptions{URL: gitlab.Ptr(os.Getenv("HOOK_URL")), PipelineEvents: gitlab.Ptr(true), JobEvents: gitlab.Ptr(true)}))
	check(hook.PipelineEvents && hook.JobEvents && hook.PushEvents, "the hook's switches")
	definition := "build:\n  script: [make]\n"
	commit := must(client.Commits.CreateCommit(project.ID, &gitlab.CreateCommitOptions{
		Branch: gitlab.Ptr("main"), CommitMessage: gitlab.Ptr("Begin [ci skip]"),
		Actions: []*gitlab.CommitActionOptions{{Action: gitlab.Ptr(gitlab.FileCreate), FilePath: gitlab.Ptr(".gitlab-ci.yml"), Content: gitlab.Ptr(definition)}},
	}))
	branch := must(client.ProtectedBranches.GetProtectedBranch("team/hello", "main"))
	check(!branch.AllowForcePush, "force")
	branch = must(client.ProtectedBranches.UpdateProtectedBranch(project.ID, "main", &gitlab.UpdateProtectedBranchOptions{AllowForcePush: gitlab.Ptr(true)}))
	check(branch.AllowForcePush, "no force")

	pipeline := must(client.Pipelines.CreatePipeline(project.ID, &gitlab.CreatePipelineOptions{Ref: gitlab.Ptr("main"), Variables: &[]*gitlab.PipelineVariableOptions{{Key: gitlab.Ptr("A"), Value: gitlab.Ptr("1")}}}))
	check(pipeline.SHA == commit.ID, "the commit")
	for range 600 {
		pipeline = must(client.Pipelines.GetPipeline(project.ID, pipeline.ID))
		if pipeline.Status == "success" {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	check(pipeline.Status == "success" && pipeline.DetailedStatus.Label == "passed", "the status: %s", pipeline.Status)
	check(len(must(client.Pipelines.ListProjectPipelines(project.ID, &gitlab.ListProjectPipelinesOptions{SHA: gitlab.Ptr(commit.ID)}))) == 1, "the list")
	jobs := must(client.Jobs.ListPipelineJobs(project.ID, pipeline.ID, &gitlab.ListJobsOptions{Scope: &[]gitlab.BuildStateValue{gitlab.Success, gitlab.Failed}}))
	check(len(jobs) == 1 && jobs[0].Name == "build", "the jobs")
	trace, _, err := client.Jobs.GetTraceFile(project.ID, jobs[0].ID)
	check(err == nil, "%v", err)
	text, _ := io.ReadAll(trace)
	check(bytes.Equal(text, []byte("hello from the script\n")), "the log: %q", text)
	file, _, err := client.Jobs.DownloadSingleArtifactsFile(project.ID, jobs[0].ID, "out/hello")
	check(err == nil, "%v", err)
	text, _ = io.ReadAll(file)
	check(string(text) == "hello", "the file: %q", text)
	report := must(client.Pipelines.GetPipelineTestReport(project.ID, pipeline.ID))
	check(report.TotalCount == 1, "the report")
	check(must(client.Jobs.RetryJob(project.ID, jobs[0].ID)).ID != jobs[0].ID, "the retry")
	status := must(client.Commits.SetCommitStatus(project.ID, commit.ID, &gitlab.SetCommitStatusOptions{State: gitlab.Success, Name: gitlab.Ptr("signalbox"), PipelineID: gitlab.Ptr(pipeline.ID)}))
	check(status.Status == "success", "the report of another system")
	must(client.Environments.CreateEnvironment(project.ID, &gitlab.CreateEnvironmentOptions{Name: gitlab.Ptr("production")}))
	key := must(client.DeployKeys.AddDeployKey(project.ID, &gitlab.AddDeployKeyOptions{Title: gitlab.Ptr("k"), Key: gitlab.Ptr("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1 me"), CanPush: gitlab.Ptr(true)}))
	check(key.CanPush, "the key")
	_, err = client.Projects.DeleteProject(project.ID, nil)
	check(err == nil, "%v", err)
	check(must(client.Projects.GetProject(project.ID, nil)).MarkedForDeletionOn != nil, "marked")
	fmt.Println("all of it came true")
}
