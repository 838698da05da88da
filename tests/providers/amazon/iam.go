package amazon

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"envctl.dev/tests/providers/crud"
)

type role struct {
	crud.Object
	tagged
	Name        types.String `tfsdk:"name"`
	Path        types.String `tfsdk:"path"`
	Description types.String `tfsdk:"description"`
	Trust       types.String `tfsdk:"assume_role_policy"`
	MaxSession  types.Int64  `tfsdk:"max_session_duration"`
	UniqueID    types.String `tfsdk:"unique_id"`
}

var roles = crud.Kind[*session, role, *role]{
	Type: "aws_iam_role", Noun: "IAM Role",
	Schema: withTags(map[string]schema.Attribute{
		"name": crud.Fixed(), "path": crud.FixedOr("/"), "description": crud.Optional(), "assume_role_policy": crud.Required(),
		"max_session_duration": crud.NumberOr(3600), "unique_id": crud.Given(),
	}),
	Name:   func(r *role) string { return r.Name.ValueString() },
	Create: createRole, Read: readRole, Update: updateRole, Delete: deleteRole, Plan: planTags,
}

func iamTags(tags map[string]string) []iamtypes.Tag {
	var all []iamtypes.Tag
	for key, value := range tags {
		all = append(all, iamtypes.Tag{Key: aws.String(key), Value: aws.String(value)})
	}
	return all
}

func createRole(ctx context.Context, s *session, r *role) error {
	made, err := s.iam.CreateRole(ctx, &iam.CreateRoleInput{
		RoleName: r.Name.ValueStringPointer(), Path: r.Path.ValueStringPointer(), Description: r.Description.ValueStringPointer(),
		AssumeRolePolicyDocument: r.Trust.ValueStringPointer(), MaxSessionDuration: aws.Int32(int32(r.MaxSession.ValueInt64())), Tags: iamTags(r.settle(s)),
	})
	if err != nil {
		return err
	}
	r.ID, r.ARN, r.UniqueID = r.Name, types.StringPointerValue(made.Role.Arn), types.StringPointerValue(made.Role.RoleId)
	return nil
}

func readRole(ctx context.Context, s *session, r *role) (bool, error) {
	answer, err := s.iam.GetRole(ctx, &iam.GetRoleInput{RoleName: r.ID.ValueStringPointer()})
	if is(err, "NoSuchEntity") {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	found := answer.Role
	trust, err := url.QueryUnescape(aws.ToString(found.AssumeRolePolicyDocument))
	if err != nil {
		return false, err
	}
	r.Name, r.Path, r.ARN, r.UniqueID = r.ID, types.StringPointerValue(found.Path), types.StringPointerValue(found.Arn), types.StringPointerValue(found.RoleId)
	r.Description = crud.Text(aws.ToString(found.Description))
	r.Trust = crud.Document(r.Trust, trust)
	r.MaxSession = types.Int64Value(int64(aws.ToInt32(found.MaxSessionDuration)))
	tags := map[string]string{}
	for _, tag := range found.Tags {
		tags[aws.ToString(tag.Key)] = aws.ToString(tag.Value)
	}
	r.see(s, tags)
	return true, nil
}

func updateRole(ctx context.Context, s *session, old, wanted *role) error {
	name := wanted.ID.ValueStringPointer()
	if !wanted.Trust.Equal(old.Trust) {
		if _, err := s.iam.UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: name, PolicyDocument: wanted.Trust.ValueStringPointer()}); err != nil {
			return err
		}
	}
	if !wanted.MaxSession.Equal(old.MaxSession) || !wanted.Description.Equal(old.Description) {
		_, err := s.iam.UpdateRole(ctx, &iam.UpdateRoleInput{
			RoleName: name, MaxSessionDuration: aws.Int32(int32(wanted.MaxSession.ValueInt64())), Description: aws.String(wanted.Description.ValueString()),
		})
		if err != nil {
			return err
		}
	}
	set, gone := changed(s, &old.tagged, &wanted.tagged)
	if len(gone) > 0 {
		if _, err := s.iam.UntagRole(ctx, &iam.UntagRoleInput{RoleName: name, TagKeys: gone}); err != nil {
			return err
		}
	}
	if len(set) > 0 {
		if _, err := s.iam.TagRole(ctx, &iam.TagRoleInput{RoleName: name, Tags: iamTags(set)}); err != nil {
			return err
		}
	}
	return nil
}

func deleteRole(ctx context.Context, s *session, r *role) error {
	if _, err := s.iam.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: r.ID.ValueStringPointer()}); err != nil && !is(err, "NoSuchEntity") {
		return err
	}
	return nil
}

type rolePolicy struct {
	crud.Object
	Role   types.String `tfsdk:"role"`
	Name   types.String `tfsdk:"name"`
	Policy types.String `tfsdk:"policy"`
}

var rolePolicies = crud.Kind[*session, rolePolicy, *rolePolicy]{
	Type: "aws_iam_role_policy", Noun: "IAM Role Policy",
	Schema: crud.Attributes(map[string]schema.Attribute{"role": crud.Fixed(), "name": crud.Fixed(), "policy": crud.Required()}),
	Name:   func(p *rolePolicy) string { return p.Role.ValueString() + ":" + p.Name.ValueString() },
	Create: func(ctx context.Context, s *session, p *rolePolicy) error {
		err := putRolePolicy(ctx, s, p)
		if err == nil {
			p.ID = types.StringValue(p.Role.ValueString() + ":" + p.Name.ValueString())
		}
		return err
	},
	Read: readRolePolicy,
	Update: func(ctx context.Context, s *session, _, wanted *rolePolicy) error {
		return putRolePolicy(ctx, s, wanted)
	},
	Delete: func(ctx context.Context, s *session, p *rolePolicy) error {
		_, err := s.iam.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: p.Role.ValueStringPointer(), PolicyName: p.Name.ValueStringPointer()})
		if is(err, "NoSuchEntity") {
			return nil
		}
		return err
	},
}

// IAM overwrites a policy of that name, whoever put it there.
func putRolePolicy(ctx context.Context, s *session, p *rolePolicy) error {
	_, err := s.iam.PutRolePolicy(ctx, &iam.PutRolePolicyInput{
		RoleName: p.Role.ValueStringPointer(), PolicyName: p.Name.ValueStringPointer(), PolicyDocument: p.Policy.ValueStringPointer(),
	})
	return err
}

func readRolePolicy(ctx context.Context, s *session, p *rolePolicy) (bool, error) {
	of, name, both := strings.Cut(p.ID.ValueString(), ":")
	if !both {
		return false, fmt.Errorf("%q is not ROLE:NAME", p.ID.ValueString())
	}
	found, err := s.iam.GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: &of, PolicyName: &name})
	if is(err, "NoSuchEntity") {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	policy, err := url.QueryUnescape(aws.ToString(found.PolicyDocument))
	if err != nil {
		return false, err
	}
	p.Role, p.Name, p.Policy = types.StringValue(of), types.StringValue(name), crud.Document(p.Policy, policy)
	return true, nil
}
