// Package crud makes a resource of Terraform from four functions.
package crud

import (
	"context"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

// Object is what the state of every resource begins with.
type Object struct {
	ID types.String `tfsdk:"id"`
}

func (o *Object) identity() types.String { return o.ID }

// Known is a resource's state: a pointer to a struct that has an Object.
type Known[M any] interface {
	*M
	identity() types.String
}

// Kind is a kind of resource. S is what its provider made of its
// configuration, M the resource's state.
type Kind[S, M any, P Known[M]] struct {
	Type   string // in configurations
	Noun   string // in messages
	Schema schema.Schema
	// Name is what a message calls one that may not have been made yet.
	Name func(P) string
	// Create gives it an ID as soon as anything is made: then it is kept in the
	// state, tainted, also if the rest fails.
	Create func(context.Context, S, P) error
	// Read says whether it is still there.
	Read func(context.Context, S, P) (bool, error)
	// Update brings `old` to what `wanted` says. Without it, every change replaces.
	Update func(ctx context.Context, s S, old, wanted P) error
	// Delete is content with what is gone already.
	Delete func(context.Context, S, P) error
	// Plan adds to a plan what only the provider knows. It may be missing.
	Plan func(context.Context, S, resource.ModifyPlanRequest, *resource.ModifyPlanResponse)
}

// New is what a provider lists among its resources.
func (k Kind[S, M, P]) New() resource.Resource { return &adapter[S, M, P]{kind: k} }

type adapter[S, M any, P Known[M]] struct {
	kind    Kind[S, M, P]
	session S
}

func (a *adapter[S, M, P]) Metadata(_ context.Context, _ resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = a.kind.Type
}

func (a *adapter[S, M, P]) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = a.kind.Schema
}

// Configure is called without a session when only the configuration is looked at.
func (a *adapter[S, M, P]) Configure(_ context.Context, req resource.ConfigureRequest, _ *resource.ConfigureResponse) {
	if session, made := req.ProviderData.(S); made {
		a.session = session
	}
}

func (a *adapter[S, M, P]) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if a.kind.Plan != nil && !req.Plan.Raw.IsNull() {
		a.kind.Plan(ctx, a.session, req, resp)
	}
}

func (a *adapter[S, M, P]) failure(doing string, one P, err error) string {
	return fmt.Sprintf("%s %s (%s): %s", doing, a.kind.Noun, a.kind.Name(one), err)
}

func (a *adapter[S, M, P]) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	one := P(new(M))
	if resp.Diagnostics.Append(req.Plan.Get(ctx, one)...); resp.Diagnostics.HasError() {
		return
	}
	if err := a.kind.Create(ctx, a.session, one); err != nil {
		resp.Diagnostics.AddError(a.failure("creating", one, err), "")
		if id := one.identity(); id.IsUnknown() || id.IsNull() {
			return
		}
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, one)...)
}

func (a *adapter[S, M, P]) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	one := P(new(M))
	if resp.Diagnostics.Append(req.State.Get(ctx, one)...); resp.Diagnostics.HasError() {
		return
	}
	there, err := a.kind.Read(ctx, a.session, one)
	switch {
	case err != nil:
		resp.Diagnostics.AddError(a.failure("reading", one, err), "")
	case !there:
		resp.State.RemoveResource(ctx)
	default:
		resp.Diagnostics.Append(resp.State.Set(ctx, one)...)
	}
}

func (a *adapter[S, M, P]) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	old, wanted := P(new(M)), P(new(M))
	resp.Diagnostics.Append(req.State.Get(ctx, old)...)
	if resp.Diagnostics.Append(req.Plan.Get(ctx, wanted)...); resp.Diagnostics.HasError() {
		return
	}
	if a.kind.Update != nil {
		if err := a.kind.Update(ctx, a.session, old, wanted); err != nil {
			resp.Diagnostics.AddError(a.failure("updating", wanted, err), "")
			return
		}
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, wanted)...)
}

func (a *adapter[S, M, P]) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	one := P(new(M))
	if resp.Diagnostics.Append(req.State.Get(ctx, one)...); resp.Diagnostics.HasError() {
		return
	}
	if err := a.kind.Delete(ctx, a.session, one); err != nil {
		resp.Diagnostics.AddError(a.failure("deleting", one, err), "")
	}
}

func (a *adapter[S, M, P]) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	resource.ImportStatePassthroughID(ctx, path.Root("id"), req, resp)
}
