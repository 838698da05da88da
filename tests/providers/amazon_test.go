package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

var background = context.Background()

func newBucket(t *testing.T, name string) *s3.Client {
	t.Helper()
	client := s3.NewFromConfig(amazonAs(t, "platform"), func(o *s3.Options) { o.UsePathStyle = true })
	_, err := client.CreateBucket(background, &s3.CreateBucketInput{
		Bucket: &name, CreateBucketConfiguration: &s3types.CreateBucketConfiguration{LocationConstraint: s3types.BucketLocationConstraint(cluster.Region)},
	})
	must(t, err)
	return client
}

func TestStackLivesInWorkspaceOfS3Backend(t *testing.T) {
	t.Parallel()
	name := unique("stack")
	buckets := newBucket(t, name+"-states")
	queues := sqs.NewFromConfig(amazonAs(t, "platform"))
	secrets := secretsmanager.NewFromConfig(amazonAs(t, "platform"))

	r := rootOf(t, "stack", "name="+name)
	r.set("TF_AWS_DEFAULT_TAGS_envctl:environment="+name, "TF_AWS_DEFAULT_TAGS_both=environment")
	r.run("init", "-backend-config=bucket="+name+"-states", "-backend-config=key=stack.tfstate", "-backend-config=region="+cluster.Region)
	r.run("workspace", "new", name)

	// The saved plan is what is applied.
	if _, code := r.try("plan", "-detailed-exitcode", "-out=saved"); code != 2 {
		t.Fatalf("exit code %d", code)
	}
	r.run("apply", "saved")
	r.settled()
	_, err := buckets.HeadObject(background, &s3.HeadObjectInput{Bucket: aws.String(name + "-states"), Key: aws.String("env:/" + name + "/stack.tfstate")})
	must(t, err)

	out := r.outputs()
	equal(t, "region", out["region"], cluster.Region)
	contains(t, out["me"], "assumed-role/PlatformAdmin/platform")
	tags, err := queues.ListQueueTags(background, &sqs.ListQueueTagsInput{QueueUrl: aws.String(out["queue"])})
	must(t, err)
	equal(t, "a tag of the environment's", tags.Tags["envctl:environment"], name)
	equal(t, "a tag of the block's", tags.Tags["project"], "doubles")
	equal(t, "a tag of both", tags.Tags["both"], "block")
	arns := taggedWith(t, "envctl:environment", name)
	equal(t, "what the tagging API lists", strings.Join(kinds(arns), " "), "s3 secretsmanager secretsmanager sqs sqs")

	// A change is one: nothing is made anew but a secret's version.
	r.variables = append(r.variables, "TF_VAR_visibility=60", `TF_VAR_extra={"both":"own","more":"yes"}`, "TF_VAR_password=two")
	contains(t, r.apply(), "1 added, 5 changed, 1 destroyed")
	r.settled()
	again := r.outputs()
	equal(t, "the queue", again["queue"], out["queue"])
	if again["version"] == out["version"] {
		t.Fatal("the secret has no new version")
	}
	attributes, err := queues.GetQueueAttributes(background, &sqs.GetQueueAttributesInput{QueueUrl: aws.String(out["queue"]), AttributeNames: []sqstypes.QueueAttributeName{"All"}})
	must(t, err)
	equal(t, "visibility", attributes.Attributes["VisibilityTimeout"], "60")
	tags, err = queues.ListQueueTags(background, &sqs.ListQueueTagsInput{QueueUrl: aws.String(out["queue"])})
	must(t, err)
	equal(t, "an own tag over a default", tags.Tags["both"], "own")
	r.variables = append(r.variables, "TF_VAR_extra=null")
	r.apply()
	r.settled()
	tags, err = queues.ListQueueTags(background, &sqs.ListQueueTagsInput{QueueUrl: aws.String(out["queue"])})
	must(t, err)
	equal(t, "a tag that went", tags.Tags["more"], "")
	equal(t, "the default again", tags.Tags["both"], "block")

	// What others remove is missed, what they change is changed back.
	_, err = queues.DeleteQueue(background, &sqs.DeleteQueueInput{QueueUrl: aws.String(out["queue"])})
	must(t, err)
	_, err = iam.NewFromConfig(amazonAs(t, "platform")).UpdateRole(background, &iam.UpdateRoleInput{RoleName: &name, MaxSessionDuration: aws.Int32(4000)})
	must(t, err)
	contains(t, r.apply(), "1 added, 1 changed, 0 destroyed")
	r.settled()

	// A secret that waits to be deleted is gone, too.
	kept, err := secrets.DeleteSecret(background, &secretsmanager.DeleteSecretInput{SecretId: aws.String(name + "-kept"), RecoveryWindowInDays: aws.Int64(7)})
	must(t, err)
	contains(t, r.run("plan"), "2 to add, 0 to change, 0 to destroy")
	_, err = secrets.RestoreSecret(background, &secretsmanager.RestoreSecretInput{SecretId: kept.ARN})
	must(t, err)
	r.settled()

	// What the state lost is imported.
	for _, one := range [][2]string{
		{"aws_sqs_queue.dead", out["queue"] + "-dead"}, {"aws_iam_role.app", name}, {"aws_iam_role_policy.app", name + ":queue"},
	} {
		r.run("state", "rm", one[0])
		r.run("import", one[0], one[1])
	}
	r.settled()

	// A bucket with something in it goes as well, as it was told to.
	_, err = buckets.PutObject(background, &s3.PutObjectInput{Bucket: &name, Key: aws.String("photo"), Body: strings.NewReader("x")})
	must(t, err)
	contains(t, r.destroy(), "8 destroyed")
	equal(t, "the state", r.run("state", "list"), "")
	r.run("workspace", "select", "default")
	r.run("workspace", "delete", name)

	// A secret with a recovery window is still there, and holds its name.
	waiting, err := secrets.DescribeSecret(background, &secretsmanager.DescribeSecretInput{SecretId: aws.String(name + "-kept")})
	must(t, err)
	if waiting.DeletedDate == nil {
		t.Fatal("the secret is not about to be deleted")
	}
	if _, err := secrets.DescribeSecret(background, &secretsmanager.DescribeSecretInput{SecretId: aws.String(name + "-gone")}); err == nil {
		t.Fatal("the secret without a recovery window is still there")
	}
	equal(t, "what is left", strings.Join(kinds(taggedWith(t, "envctl:environment", name)), " "), "secretsmanager")
	r.fails("scheduled for deletion", "apply", "-auto-approve")
	r.destroy()
}

func kinds(arns []string) []string {
	var all []string
	for _, one := range arns {
		all = append(all, strings.Split(one, ":")[2])
	}
	slices.Sort(all)
	return all
}

func TestRoleIsAssumed(t *testing.T) {
	t.Parallel()
	name := unique("assumed")
	r := rootOf(t, "roles", "name="+name, "role=arn:aws:iam::"+cluster.Account+":role/EnvctlGc")
	r.run("init")
	r.apply()
	r.settled()
	out := r.outputs()
	contains(t, out["me"], ":assumed-role/PlatformAdmin/platform")
	equal(t, "the other", out["other"], "arn:aws:sts::"+cluster.Account+":assumed-role/EnvctlGc/terraform")
	log, err := os.ReadFile(cluster.AWSLog)
	must(t, err)
	made := slices.ContainsFunc(strings.Split(string(log), "\n"), func(line string) bool {
		return strings.Contains(line, "CreateQueue") && strings.Contains(line, ":assumed-role/EnvctlGc/terraform") && strings.Contains(line, "terraform-provider-aws/5.100.0")
	})
	equal(t, "the queue was made by the role", made, true)
	r.destroy()

	// Another account does not trust this one.
	r.variables = append(r.variables, "TF_VAR_role=arn:aws:iam::444444444444:role/Developer")
	r.fails("Cannot assume IAM Role", "plan")
	r.fails("AccessDenied", "plan")
}

func TestAccountsAreChecked(t *testing.T) {
	t.Parallel()
	r := rootOf(t, "accounts", `allowed=["`+cluster.Account+`"]`)
	r.run("init")
	r.apply()
	equal(t, "account", r.outputs()["account"], cluster.Account)
	r.variables = []string{`TF_VAR_allowed=["444444444444"]`}
	r.fails("AWS account ID not allowed: "+cluster.Account, "plan")
	r.variables = []string{`TF_VAR_forbidden=["` + cluster.Account + `"]`}
	r.fails("AWS account ID not allowed: "+cluster.Account, "plan")
	r.variables = []string{"TF_VAR_endpoint=http://127.0.0.1:9"}
	r.fails("127.0.0.1:9", "plan")
	r.variables = nil
	r.set("AWS_PROFILE=expired")
	r.fails("ExpiredToken", "plan")
	r.set("AWS_PROFILE=nobody")
	r.fails("nobody", "plan")
}

// What exists was made by somebody else.
func TestNothingIsAdopted(t *testing.T) {
	t.Parallel()
	name := unique("taken")
	cfg := amazonAs(t, "platform")
	queues, roles := sqs.NewFromConfig(cfg), iam.NewFromConfig(cfg)
	for suffix, input := range map[string]*sqs.CreateQueueInput{
		"-attribute": {Attributes: map[string]string{"VisibilityTimeout": "7"}, Tags: map[string]string{"by": "terraform"}},
		"-tag":       {Tags: map[string]string{"by": "somebody"}},
		"-same":      {Attributes: map[string]string{"MaximumMessageSize": "262144"}, Tags: map[string]string{"by": "terraform"}},
	} {
		input.QueueName = aws.String(name + suffix)
		_, err := queues.CreateQueue(background, input)
		must(t, err)
	}
	newBucket(t, name)
	_, err := roles.CreateRole(background, &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: aws.String(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":"ec2.amazonaws.com"}}]}`)})
	must(t, err)
	_, err = secretsmanager.NewFromConfig(cfg).CreateSecret(background, &secretsmanager.CreateSecretInput{Name: &name, SecretString: aws.String("x")})
	must(t, err)

	r := rootOf(t, "taken", "name="+name)
	r.run("init")
	said, code := r.try("apply", "-auto-approve")
	equal(t, "exit code", code, 1)
	for _, text := range []string{
		"creating SQS Queue (" + name + "-attribute)", "creating SQS Queue (" + name + "-tag): QueueAlreadyExists", "BucketAlreadyOwnedByYou", "EntityAlreadyExists",
		"creating Secrets Manager Secret (" + name + ")", "ResourceExistsException",
	} {
		contains(t, flat(said), text)
	}
	// That is how SQS answers who asks for exactly what there is.
	equal(t, "the state", strings.TrimSpace(r.run("state", "list")), "aws_sqs_queue.same")
	r.destroy()
	_, err = queues.GetQueueUrl(background, &sqs.GetQueueUrlInput{QueueName: aws.String(name + "-tag")})
	must(t, err)
}

func TestKilledSlowQueueIsAnOrphan(t *testing.T) {
	t.Parallel()
	name := unique("slow")
	r := rootOf(t, "slow", "name="+name, "delay=120")
	r.set("TF_AWS_DEFAULT_TAGS_envctl:environment=" + name)
	r.run("init")
	queues := sqs.NewFromConfig(amazonAs(t, "platform"))
	there := func() int {
		found, err := queues.ListQueues(background, &sqs.ListQueuesInput{QueueNamePrefix: &name})
		must(t, err)
		return len(found.QueueUrls)
	}
	command, _ := r.started("apply", "-auto-approve")
	eventually(t, "the queue", func() bool { return there() == 1 })
	must(t, syscall.Kill(-command.Process.Pid, syscall.SIGKILL))
	_ = command.Wait()

	r.variables = append(r.variables, "TF_VAR_delay=0")
	if _, code := r.try("state", "list"); code == 0 {
		equal(t, "the state", r.run("state", "list"), "")
	}
	orphans := taggedWith(t, "envctl:environment", name)
	equal(t, "orphans", len(orphans), 1)
	contains(t, orphans[0], ":"+name+"-")

	// Another is made, and that goes; the first stays.
	r.apply()
	r.settled()
	equal(t, "queues", there(), 2)
	r.destroy()
	equal(t, "orphans in the end", strings.Join(taggedWith(t, "envctl:environment", name), " "), orphans[0])
}

func TestInterruptedSlowQueueIsKnown(t *testing.T) {
	t.Parallel()
	name := unique("interrupted")
	r := rootOf(t, "slow", "name="+name, "delay=120")
	r.set("TF_AWS_DEFAULT_TAGS_envctl:environment=" + name)
	r.run("init")
	command, said := r.started("apply", "-auto-approve")
	eventually(t, "the queue", func() bool { return len(taggedWith(t, "envctl:environment", name)) == 1 })
	time.Sleep(time.Second)
	// Only to Terraform: it asks its providers to stop.
	must(t, command.Process.Signal(syscall.SIGINT))
	if err := command.Wait(); err == nil {
		t.Fatalf("it ended well:\n%s", said)
	}
	contains(t, flat(said.String()), "creating slow queue ("+name+"): waiting for it: context canceled")
	equal(t, "the state", strings.TrimSpace(r.run("state", "list")), "aws_test_slow_queue.it")
	r.destroy()
	equal(t, "what is left", len(taggedWith(t, "envctl:environment", name)), 0)
}

func TestFailuresHappenWhenTold(t *testing.T) {
	t.Parallel()
	r := rootOf(t, "fail", "moment=create")
	r.run("init")
	r.fails("creating failure (create): there is a limit to everything", "apply", "-auto-approve")
	equal(t, "the state", strings.TrimSpace(r.run("state", "list")), "")
	r.variables = []string{"TF_VAR_moment=never"}
	r.fails(`"never" is none of`, "apply", "-auto-approve")

	r.variables = []string{"TF_VAR_moment=read"}
	r.apply()
	r.fails("reading failure (read): there is a limit to everything", "plan")
	r.variables = []string{"TF_VAR_moment=update"}
	r.fails("updating failure (update)", "apply", "-auto-approve", "-refresh=false")

	// It is the state that says when, not the configuration.
	file := filepath.Join(r.directory, "as-long-as-this-exists")
	must(t, os.WriteFile(file, nil, 0o600))
	r.variables = []string{"TF_VAR_moment=delete", "TF_VAR_file=" + file}
	r.apply("-refresh=false")
	r.fails("deleting failure (delete): there is a limit to everything", "destroy", "-auto-approve")
	must(t, os.Remove(file))
	r.destroy()
}

func TestOthersAreNotFetched(t *testing.T) {
	t.Parallel()
	r := rootOf(t, "elsewhere")
	began := time.Now()
	r.fails("hashicorp/random", "init")
	if time.Since(began) > 20*time.Second {
		t.Fatal(errors.New("it looked elsewhere"))
	}
}
