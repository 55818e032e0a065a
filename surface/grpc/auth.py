"""Who calls, and AuthService: the stand-in that serves our own users while no other service does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, Protocol

from nova.core.errors import BadRequest, FieldError, NotFound, Unauthenticated
from nova.surface.grpc.call import Admit, Call, Handlers
from nova.surface.identity.model import User
from nova.surface.identity.principal import Principal, UserId
from nova.surface.identity.scopes import SERVICE as SERVICE_SCOPE
from nova.surface.identity.scopes import text

if TYPE_CHECKING:
    from nova.surface.grpc.generated import auth_v1_pb2 as pb

SERVICE: Final = "/nova.auth.v1.AuthService"
BATCH: Final = 200  # ids of one call


class Accounts(Protocol):
    """Users and tokens; surface.identity.service.Identity is one."""

    async def of_token_or_fetch(self, token: str) -> Principal:
        """Raises Unauthenticated."""

    async def user(self, user: UserId) -> User:
        """Raises NotFound."""

    async def users_known(self, users: Iterable[UserId]) -> set[UserId]: ...


def bearer(accounts: Accounts) -> Admit:
    """Admits by metadata `authorization: Bearer …`; without it nobody asks."""

    async def admit(authorization: str) -> Principal | None:
        if not authorization:
            return None
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthenticated("unauthenticated", "the authorization scheme is Bearer")
        return await accounts.of_token_or_fetch(token.strip())

    return admit


class AuthService:
    """Handlers over our own users. Every call needs the scope `service`."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    def handlers(self) -> Handlers:
        return {
            f"{SERVICE}/GetUser": self.get_user,
            f"{SERVICE}/GetUserBatch": self.get_user_batch,
            f"{SERVICE}/CheckUserExists": self.check_user_exists,
            f"{SERVICE}/ValidateToken": self.validate_token,
        }

    async def get_user(self, request: pb.GetUserRequest, call: Call) -> pb.GetUserResponse:
        from nova.surface.grpc.generated import auth_v1_pb2 as pb

        call.require(SERVICE_SCOPE)
        return pb.GetUserResponse(user=_shown(await self._accounts.user(UserId(request.user_id))))

    async def get_user_batch(self, request: pb.GetUserBatchRequest, call: Call) -> pb.GetUserBatchResponse:
        from nova.surface.grpc.generated import auth_v1_pb2 as pb

        call.require(SERVICE_SCOPE)
        if len(request.user_ids) > BATCH:
            wrong = FieldError("/user_ids", "invalid_field", f"at most {BATCH} users are asked for at once")
            raise BadRequest("invalid_field", wrong.detail, fields=(wrong,))
        wanted = list(dict.fromkeys(UserId(user) for user in request.user_ids))
        found, missing = [], []
        for user in wanted:
            try:
                found.append(_shown(await self._accounts.user(user)))
            except NotFound:
                missing.append(user)
        return pb.GetUserBatchResponse(users=found, missing_user_ids=missing)

    async def check_user_exists(self, request: pb.CheckUserExistsRequest, call: Call) -> pb.CheckUserExistsResponse:
        from nova.surface.grpc.generated import auth_v1_pb2 as pb

        call.require(SERVICE_SCOPE)
        return pb.CheckUserExistsResponse(exists=bool(await self._accounts.users_known([UserId(request.user_id)])))

    async def validate_token(self, request: pb.ValidateTokenRequest, call: Call) -> pb.ValidateTokenResponse:
        from nova.surface.grpc.generated import auth_v1_pb2 as pb

        call.require(SERVICE_SCOPE)
        try:
            found = await self._accounts.of_token_or_fetch(request.token)
        except Unauthenticated as error:
            return pb.ValidateTokenResponse(valid=False, reason=error.code)
        shown = pb.ValidateTokenResponse(valid=True, user_id=found.user, scopes=text(found.scopes).split())
        shown.expires_at.FromMilliseconds(int(found.expires_at * 1000))
        return shown


def _shown(user: User) -> pb.User:
    from nova.surface.grpc.generated import auth_v1_pb2 as pb

    shown = pb.User(id=user.id, name=user.name)
    shown.created_at.FromMilliseconds(int(user.created_at * 1000))
    return shown
